// From layer to layer by the arrow keys: along the data, against it, and to what stands beside.

const KEYS_ALONG = {
  TB: ['ArrowDown', 'ArrowUp'], BT: ['ArrowUp', 'ArrowDown'],
  LR: ['ArrowRight', 'ArrowLeft'], RL: ['ArrowLeft', 'ArrowRight'],
};

function step(box, key, rankdir) {
  const [forwards, backwards] = KEYS_ALONG[rankdir];
  if (key === forwards) return nextOf(box);
  if (key === backwards) return previousOf(box);
  return beside(box, key === 'ArrowRight' || key === 'ArrowDown' ? 1 : -1, rankdir === 'TB' || rankdir === 'BT');
}

// The way forwards leads into an open model by its first layer, and out of it after its last one.
function nextOf(box) {
  if (box.isOpen) return box.inside.boxes[0];
  for (let from = box; from; from = from.parent) {
    if (from.after.length) return nearest(from.after, box);
  }
  return null;
}

function previousOf(box) {
  return box.before.length ? nearest(box.before, box) : box.parent;
}

function nearest(candidates, box) {
  const centre = (other) => {
    const { x, y, width, height } = placeOf(other);
    return [x + width / 2, y + height / 2];
  };
  const [x, y] = centre(box);
  const distance = (other) => Math.hypot(centre(other)[0] - x, centre(other)[1] - y);
  return candidates.reduce((best, other) => (distance(other) < distance(best) ? other : best));
}

// The nearest box of the same level on one side, among those that reach into the same row.
function beside(box, direction, isDownwards) {
  const [along, across, extent, breadth] = isDownwards
    ? ['y', 'x', 'height', 'width'] : ['x', 'y', 'width', 'height'];
  const middle = box[across] + box[breadth] / 2;
  let best = null, distance = Infinity;
  for (const other of box.level.boxes) {
    const way = (other[across] + other[breadth] / 2 - middle) * direction;
    const isInRow = other[along] < box[along] + box[extent] && other[along] + other[extent] > box[along];
    if (other !== box && isInRow && way > 0 && way < distance) [best, distance] = [other, way];
  }
  return best;
}

// The place of a box in the whole picture.
function placeOf(box) {
  let { x, y } = box;
  for (let outer = box.parent; outer; outer = outer.parent) {
    x += outer.x + outer.insideX;
    y += outer.y + outer.insideY;
  }
  return { x, y, width: box.width, height: box.height };
}
