// Puts the parts together: reads what Python wrote, and answers clicks and keys.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($('data').textContent);
const svg = $('stage'), view = $('view'), panel = $('panel'), root = document.documentElement;

const { boxes, levels } = readModel(data, view);
const numberOf = new Map(boxes.map((box, i) => [box.face, i]));
const nested = boxes.filter((box) => box.inside);
root.classList.add('ready');

// Only boxes near the window show their texts.
function markNear(level, x, y, area) {
  for (const box of level.boxes) {
    const left = x + box.x, top = y + box.y;
    const isNear = left < area.right && left + box.width > area.left
      && top < area.bottom && top + box.height > area.top;
    if (box.isNear !== isNear) box.element.classList.toggle('near', isNear);
    box.isNear = isNear;
    if (isNear && box.isOpen) markNear(box.inside, left + box.insideX, top + box.insideY, area);
  }
}
const stage = makeStage(svg, view, levels[0], (scale, area) => {
  $('scale').textContent = `${Math.round(scale * 100)} %`;
  if (scale >= FAR) markNear(levels[0], 0, 0, area);
});

// Folding
function setOpen(list, isOpen) {
  const touched = new Set();
  for (const box of list) {
    if (box.isOpen === isOpen) continue;
    box.isOpen = isOpen;
    for (let level = box.inside; level; level = level.parent?.level) touched.add(level);
  }
  // From the inside to the outside: a model's size depends on what is in it.
  for (const level of [...levels].reverse()) {
    if (!touched.has(level)) continue;
    if (level.opened) arrange(level, data.rankdir);
    if (level.parent) resize(level.parent, data.frame);
  }
  makeCurrent(shownFor(current));
  sayState();
}
function sayState() {
  $('fold-all').textContent = nested.every((box) => box.isOpen) ? 'Close all' : 'Open all';
  const button = panel.querySelector('.act');
  if (button) button.textContent = foldLabel(chosen);
}
// A box, or the closed model that hides it.
function shownFor(box) {
  let shown = box;
  for (let outer = box.parent; outer; outer = outer.parent) if (!outer.isOpen) shown = outer;
  return shown;
}
// Where data enters a box: that point stays in place while the box grows.
function entry(box) {
  const { x, y, width, height } = placeOf(box);
  return {
    TB: { x: x + width / 2, y }, BT: { x: x + width / 2, y: y + height },
    LR: { x, y: y + height / 2 }, RL: { x: x + width, y: y + height / 2 },
  }[data.rankdir];
}
function fold(box) {
  const before = entry(box);
  setOpen([box], !box.isOpen);
  stage.hold(before, entry(box));
  $('spoken').textContent = `${box.facts.title} ${box.isOpen ? 'open' : 'closed'}`;
}
$('fold-all').hidden = !nested.length;
$('fold-all').addEventListener('click', () => {
  setOpen(nested, nested.some((box) => !box.isOpen));
  stage.fit();
});

// Choosing a layer
let chosen = null, current = null;
function makeCurrent(box) {
  current?.face.setAttribute('tabindex', -1);
  current = box;
  current?.face.setAttribute('tabindex', 0);
}
function reveal(box) {
  const closed = [];
  for (let outer = box.parent; outer; outer = outer.parent) if (!outer.isOpen) closed.push(outer);
  if (closed.length) setOpen(closed, true);
}
function mark(box, isOn) {
  box.element.classList.toggle('chosen', isOn);
  for (const edge of box.edges) edge.classList.toggle('lit', isOn);
}
function choose(box) {
  if (chosen) mark(chosen, false);
  chosen = box;
  mark(box, true);
  makeCurrent(box);
  fillPanel(panel, box, { close: closePanel, fold, visit });
  panel.hidden = false;
  stage.resized();
  stage.show(placeOf(box));
}
function visit(box) {
  reveal(box);
  choose(box);
  stage.visit(placeOf(box));
}
function closePanel() {
  const hadFocus = panel.contains(document.activeElement);
  panel.hidden = true;
  stage.resized();
  if (chosen) mark(chosen, false);
  chosen = null;
  if (hadFocus) current.face.focus({ preventScroll: true });
}
function boxAt(target) {
  const element = target.closest?.('.face, .fold');
  if (!element) return null;
  return boxes[numberOf.get(element.classList.contains('fold') ? element.previousElementSibling : element)];
}
svg.addEventListener('click', (event) => {
  const box = boxAt(event.target);
  if (!box) closePanel();
  else if (event.target.closest('.fold')) fold(box);
  else choose(box);
});

// Keys
const search = makeSearch(boxes, svg, { query: $('query'), found: $('found'), spoken: $('spoken') }, visit);
const PANS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
svg.addEventListener('focusin', (event) => {
  const box = boxAt(event.target);
  if (!box) return;
  makeCurrent(box);
  if (event.target.matches(':focus-visible')) stage.show(placeOf(box));
});
svg.addEventListener('keydown', (event) => {
  const box = boxAt(event.target);
  if (event.key in PANS) {
    const goal = box && !event.shiftKey ? step(box, event.key, data.rankdir) : null;
    if (goal) {
      makeCurrent(goal);
      goal.face.focus({ preventScroll: true });
      stage.show(placeOf(goal));
    } else if (!box || event.shiftKey) stage.panBy(...PANS[event.key]);
  } else if (box && event.key === 'Enter') {
    choose(box);
    $('panel-title').focus();
  } else if (box?.inside && event.key === ' ') fold(box);
  else return;
  event.preventDefault();
});
const KEYS = {
  ...Object.fromEntries(Object.entries(PANS).map(([key, way]) => [key, () => stage.panBy(...way)])),
  '+': () => stage.zoomAt(1.25), '=': () => stage.zoomAt(1.25), '-': () => stage.zoomAt(0.8), 0: () => stage.fit(),
  '/': () => $('query').select(), '?': () => $('keys').showModal(),
  Escape: () => (panel.hidden ? search.clear() : closePanel()),
};
addEventListener('keydown', (event) => {
  const isTyping = event.target.matches?.('input') || $('keys').open;
  if (event.key in PANS && event.target !== document.body) return; // the panel scrolls, the picture has answered
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

// Buttons
$('zoom-in').addEventListener('click', () => stage.zoomAt(1.25));
$('zoom-out').addEventListener('click', () => stage.zoomAt(0.8));
$('zoom-fit').addEventListener('click', stage.fit);
$('help').addEventListener('click', () => $('keys').showModal());
fillLegend($('legend'), boxes);

// Light and dark: as the system has it, until somebody says otherwise; a page in a sandbox cannot remember it.
const night = matchMedia('(prefers-color-scheme: dark)');
function remembered(theme) {
  try {
    if (theme) localStorage.setItem('befit-theme', theme);
    return localStorage.getItem('befit-theme');
  } catch (error) {
    if (error.name === 'SecurityError') return null;
    throw error;
  }
}
function showTheme(theme) {
  if (theme) root.dataset.theme = theme;
  $('theme').setAttribute('aria-pressed', (root.dataset.theme ?? (night.matches ? 'dark' : 'light')) === 'dark');
}
showTheme(remembered());
night.addEventListener('change', () => showTheme());
$('theme').addEventListener('click', () => {
  const theme = $('theme').getAttribute('aria-pressed') === 'true' ? 'light' : 'dark';
  showTheme(theme);
  remembered(theme);
});

const entrances = levels[0].boxes.filter((box) => !box.before.length);
makeCurrent(entrances[0] ?? null);
if (entrances.length) stage.begin(placeOf(entrances[0]));
sayState();
