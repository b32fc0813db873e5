// Searching: all words that are typed must occur in a layer's name, class, path or shapes.

function makeSearch(boxes, stage, { query, found, spoken }, visit) {
  const texts = boxes.map(({ facts }) => {
    const shapes = (facts.calls ?? []).flatMap((call) => [...call.in, ...call.out].map(([shape]) => shape));
    return [facts.title, facts.path, ...new Set(shapes)].join('\n').toLowerCase();
  });
  let matches = [];
  let place = -1;

  function mark(list, name, isOn) {
    for (const box of list) box.element.classList.toggle(name, isOn);
  }
  function search() {
    const words = query.value.toLowerCase().match(/\([^)]*\)?|\S+/g) ?? []; // "(None, 8)" is one word
    mark(boxes.filter((box) => box.element.matches('.match, .holds, .current')), 'match', false);
    for (const name of ['holds', 'current']) mark(boxes, name, false);
    matches = words.length ? boxes.filter((_, i) => words.every((word) => texts[i].includes(word))) : [];
    const holders = new Set();
    for (const box of matches) {
      for (let outer = box.parent; outer && !holders.has(outer); outer = outer.parent) holders.add(outer);
    }
    mark(matches, 'match', true);
    mark(holders, 'holds', true);
    stage.classList.toggle('searching', words.length > 0);
    place = -1;
    found.textContent = words.length ? counted(matches.length) : '';
    spoken.textContent = words.length ? plural(matches.length, 'match').replace('matchs', 'matches') : '';
  }
  function next(step) {
    if (!matches.length) return;
    matches[place]?.element.classList.remove('current');
    place = place < 0 && step < 0 ? matches.length - 1 : (place + step + matches.length) % matches.length;
    const box = matches[place];
    box.element.classList.add('current');
    visit(box);
    found.textContent = `${counted(place + 1)} of ${counted(matches.length)}`;
    spoken.textContent = `${found.textContent}: ${box.facts.title}`;
  }
  query.addEventListener('input', search);
  query.form.addEventListener('submit', (event) => event.preventDefault());
  query.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') next(event.shiftKey ? -1 : 1);
    else if (event.key === 'Escape') clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  function clear() {
    query.value = '';
    search();
    query.blur();
  }
  return { clear, isActive: () => query.value !== '' };
}
