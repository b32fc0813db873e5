// The model: its boxes and levels, each with its element in the picture. Both are written in the order of their
// numbers, in the picture as in the data.

function readModel(data, view) {
  const elements = view.querySelectorAll('.box');
  const boxes = data.boxes.map((facts, i) => makeBox(facts, elements[i], data.frame));
  const levelElements = view.querySelectorAll('.level');
  const levels = data.levels.map((facts, i) => makeLevel(facts, levelElements[i], boxes));
  for (const box of boxes) {
    if (box.isOpen) box.insideX = (box.width - box.inside.width) / 2;
  }
  return { boxes, levels };
}

function makeBox(facts, element, frame) {
  const face = element.firstElementChild;
  const isOpen = element.classList.contains('open');
  face.setAttribute('role', 'button');
  face.setAttribute('tabindex', -1);
  face.setAttribute('aria-label', facts.title);
  if (facts.closed) face.setAttribute('aria-expanded', isOpen);
  return {
    facts, element, face, isOpen,
    border: face.querySelector('.border'), title: face.lastElementChild, button: face.nextElementSibling,
    level: null, // that it is in
    parent: null, // the box of the nested model that it is in
    inside: null, // the level inside of it
    before: [], after: [], edges: [],
    x: 0, y: 0, width: 0, height: 0, // in its level
    insideX: 0, insideY: frame.header, // of the level inside of it
    isNear: false, // near the window
  };
}

function makeLevel(facts, element, boxes) {
  const level = {
    element,
    parent: boxes[facts.parent] ?? null,
    boxes: facts.items.map((number) => boxes[number]),
    edges: [...element.firstElementChild.children],
    links: [], // for each edge two places in `boxes`
    closed: facts.closed,
    opened: facts.opened,
  };
  if (level.parent) level.parent.inside = level;
  const plan = level.boxes.some((box) => box.isOpen) ? level.opened : level.closed;
  [level.width, level.height] = plan.size;
  const places = new Map();
  level.boxes.forEach((box, i) => {
    box.level = level;
    box.parent = level.parent;
    [box.x, box.y, box.width, box.height] = plan.boxes.slice(4 * i, 4 * i + 4);
    places.set(box, i);
  });
  level.edges.forEach((edge, i) => {
    const source = boxes[facts.links[2 * i]], target = boxes[facts.links[2 * i + 1]];
    source.after.push(target);
    target.before.push(source);
    source.edges.push(edge);
    target.edges.push(edge);
    level.links.push(places.get(source), places.get(target));
  });
  return level;
}
