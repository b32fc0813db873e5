// Nested models open and close. Each level was laid out twice, with everything in it closed and with everything
// open. What is partly open is made from the second: boxes shrink where they stand, and strips of the plane that
// have become empty from side to side are taken out. That keeps every order, so nothing comes to overlap.

const ROW_GAP = 26;
const WIDEST_ROW_GAP = 72;
const ARROW = 10; // edges run straight for as long before they enter a box
const HALF_BOX_GAP = 11;
const HALF_EDGE_GAP = 6;
const PORT_MARGIN = 9;
const ARROW_LENGTH = 8;

function arrange(level, rankdir) {
  const isHorizontal = rankdir === 'LR' || rankdir === 'RL';
  const isReversed = rankdir === 'BT' || rankdir === 'RL';
  const plan = level.boxes.some((box) => box.isOpen) ? level.opened : level.closed;
  const [along, across] = isHorizontal ? [0, 1] : [1, 0];
  const forwards = isReversed ? -1 : 1;
  const size = [plan.size[along], plan.size[across]];

  // From here on the data flows downwards, whatever `rankdir` says: `top` and `bottom` are along its way.
  const places = level.boxes.map((box, i) => {
    const planned = plan.boxes.slice(4 * i, 4 * i + 4);
    const actual = [box.width, box.height];
    const [height, width] = [actual[along], actual[across]];
    const start = planned[along], extent = planned[2 + along];
    let row = plan.rows ? [plan.rows[2 * i], plan.rows[2 * i + 1]] : [start, start + extent];
    if (isReversed) row = [-row[1], -row[0]];
    const centre = planned[across] + planned[2 + across] / 2;
    const place = { row, width, height, centre, top: isReversed ? -start - extent : start };
    place.plannedWidth = planned[2 + across];
    place.isShrunk = height < extent - 0.5 || width < place.plannedWidth - 0.5;
    if (place.isShrunk) place.top = row[0] + Math.min((row[1] - row[0] - height) / 2, ROW_GAP);
    place.left = centre - width / 2;
    return place;
  });
  const routes = (plan.routes ?? []).map((numbers, i) => {
    const points = [];
    for (let k = 0; k < numbers.length; k += 2) points.push([forwards * numbers[k + along], numbers[k + across]]);
    return { points, source: places[level.links[2 * i]], target: places[level.links[2 * i + 1]] };
  });

  const shrunk = places.filter((place) => place.isShrunk);
  const isLong = ({ source, target }) => target.row[0] - source.row[1] > WIDEST_ROW_GAP + 1;
  const down = withoutStrips(
    shrunk.map((place) => place.row),
    places.map((place) => [place.top, place.top + place.height]),
  );
  const right = withoutStrips(
    shrunk.map((place) => [place.centre - place.plannedWidth / 2, place.centre + place.plannedWidth / 2]),
    [
      ...places.map((place) => [place.left - HALF_BOX_GAP, place.left + place.width + HALF_BOX_GAP]),
      ...routes.filter(isLong).flatMap(({ points }) =>
        points.map((point) => [point[1] - HALF_EDGE_GAP, point[1] + HALF_EDGE_GAP])),
    ],
  );
  const end = isReversed ? down(0) : 0;
  const back = (top, left) => {
    const point = [];
    point[along] = isReversed ? end - down(top) : down(top);
    point[across] = right(left);
    return point;
  };
  level.boxes.forEach((box, i) => {
    const place = places[i];
    const corner = back(place.top, place.left);
    if (isReversed) corner[along] -= place.height;
    moveBox(box, corner[0], corner[1]);
  });
  spreadPorts(routes);
  routes.forEach((route, i) => {
    const points = (shrunk.length ? bend(route) : route.points).map(([top, left]) => back(top, left));
    level.edges[i].setAttribute('d', edgePath(points, along, across));
  });
  const extents = [isReversed ? end - down(-size[0]) : down(size[0]), right(size[1])];
  level.width = extents[across === 0 ? 1 : 0];
  level.height = extents[across === 0 ? 0 : 1];
}

// Returns a function from old positions to new ones, after all of `candidates` that nothing of `kept` needs is gone.
function withoutStrips(candidates, kept) {
  const byStart = (a, b) => a[0] - b[0];
  const needed = merged(kept.sort(byStart));
  const starts = [], ends = [], gone = []; // of each strip, and how much is gone at its end
  let total = 0, k = 0;
  for (const [low, high] of merged(candidates.sort(byStart))) {
    let from = low;
    while (k > 0 && needed[k - 1][1] > low) k -= 1;
    while (k < needed.length && needed[k][1] <= low) k += 1;
    for (; from < high; k += 1) {
      const to = k < needed.length ? Math.min(needed[k][0], high) : high;
      if (to > from) {
        total += to - from;
        starts.push(from);
        ends.push(to);
        gone.push(total);
      }
      if (k >= needed.length) break;
      from = Math.max(from, needed[k][1]);
    }
  }
  return (position) => {
    let low = 0, high = starts.length; // the number of strips that begin before it
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] < position) low = middle + 1;
      else high = middle;
    }
    if (!low) return position;
    return position - gone[low - 1] + Math.max(ends[low - 1] - position, 0);
  };
}

function merged(sorted) {
  const result = [];
  for (const [start, end] of sorted) {
    const last = result[result.length - 1];
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else result.push([start, end]);
  }
  return result;
}

// Where edges meet boxes that have become narrower: in the old order, closer together if they must be.
function spreadPorts(routes) {
  const reach = new Map();
  const ends = routes.flatMap((route) => [
    [route, 'leaves', route.source, route.points[0][1]],
    [route, 'enters', route.target, route.points[route.points.length - 1][1]],
  ]);
  for (const [, , place, port] of ends) {
    reach.set(place, Math.max(reach.get(place) ?? 0, Math.abs(port - place.centre)));
  }
  for (const [route, name, place, port] of ends) {
    const room = Math.max(place.width / 2 - PORT_MARGIN, 0);
    const ratio = reach.get(place) > room ? room / reach.get(place) : 1;
    route[name] = place.isShrunk ? place.centre + (port - place.centre) * ratio : port;
  }
}

// Leads the first and the last piece of an edge to where its boxes are now.
function bend({ points, source, target, leaves, enters }) {
  const bottom = source.row[1], top = target.row[0];
  const first = [source.top + source.height, leaves], last = [target.top, enters];
  if (top < bottom) return [first, ...points.slice(1, -1), last];
  if (top - bottom <= WIDEST_ROW_GAP + 1) return [first, [bottom, leaves], [top - ARROW, enters], last];
  const middle = points.filter((point) => point[0] > bottom + 1 && point[0] < top - ARROW - 1);
  const leaving = points[0][1], entering = points[points.length - 1][1];
  const begin = [first, [bottom, leaves]], finish = [[top - ARROW, enters], last];
  if (leaves !== leaving) begin.push([bottom + ROW_GAP - ARROW, leaving]);
  if (enters !== entering) finish.unshift([top - ROW_GAP, entering]);
  return [...begin, ...middle, ...finish];
}

// The same as `edge_path` in drawing.py.
function edgePath(points, along, across) {
  const tip = [...points[points.length - 1]];
  tip[along] -= Math.sign(tip[along] - points[points.length - 2][along]) * ARROW_LENGTH;
  const corners = [...points.slice(0, -1), tip];
  let path = `M${corners[0].map(short)}`;
  for (let k = 1; k < corners.length; k += 1) {
    const from = corners[k - 1], to = corners[k];
    if (from[across] === to[across]) {
      path += `L${to.map(short)}`;
      continue;
    }
    const middle = (from[along] + to[along]) / 2;
    const first = [...from], second = [...to];
    first[along] = second[along] = middle;
    path += `C${first.map(short)} ${second.map(short)} ${to.map(short)}`;
  }
  return path;
}

function short(length) {
  return Math.round(length * 10) / 10;
}

function moveBox(box, x, y) {
  if (box.x === x && box.y === y) return;
  box.x = x;
  box.y = y;
  box.element.setAttribute('transform', `translate(${short(x)},${short(y)})`);
}

// Gives a nested model the looks and the size of its state; what is around it is arranged later.
function resize(box, frame) {
  const { closed } = box.facts;
  let [width, height] = closed.size, { title, button } = closed;
  if (box.isOpen) {
    width = 2 * Math.ceil(Math.max(box.inside.width + 2 * frame.padding, width) / 2);
    height = frame.header + box.inside.height + frame.padding;
    ({ title, button } = frame);
    box.insideX = (width - box.inside.width) / 2;
    box.inside.element.parentNode.setAttribute('transform', `translate(${short(box.insideX)},${frame.header})`);
  }
  box.width = width;
  box.height = height;
  box.element.classList.toggle('open', box.isOpen);
  box.face.setAttribute('aria-expanded', box.isOpen);
  box.border.setAttribute('width', width);
  box.border.setAttribute('height', height);
  box.title.setAttribute('x', title[0]);
  box.title.setAttribute('y', title[1]);
  box.button.setAttribute('transform', `translate(${button})`);
}
