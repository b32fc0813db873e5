// The stage: which part of the picture is seen, and how large.

const SMALLEST = 0.02;
const LARGEST = 8;
const MARGIN = 24;
const FAR = 0.25; // below this scale no text could be read, so none is drawn

function makeStage(svg, view, size, onChange) {
  let scale = 1, x = MARGIN, y = MARGIN; // picture → screen: (scale · px + x, scale · py + y)
  let frame = 0;
  let gliding = 0;
  const calm = matchMedia('(prefers-reduced-motion: reduce)');

  function draw() {
    frame = 0;
    view.setAttribute('transform', `translate(${x.toFixed(2)},${y.toFixed(2)}) scale(${scale.toFixed(4)})`);
    view.classList.toggle('far', scale < FAR);
    // What is seen, and as much again around it.
    const wide = svg.clientWidth / scale, high = svg.clientHeight / scale;
    const [left, top] = [-x / scale, -y / scale];
    onChange(scale, { left: left - wide, top: top - high, right: left + 2 * wide, bottom: top + 2 * high });
  }
  function move(newScale, newX, newY) {
    scale = newScale;
    // At least a bit of the picture stays in sight.
    x = clamp(newX, 60 - size.width * scale, svg.clientWidth - 60);
    y = clamp(newY, 60 - size.height * scale, svg.clientHeight - 60);
    frame ||= requestAnimationFrame(draw);
  }
  function glide(newScale, newX, newY) {
    cancelAnimationFrame(gliding);
    if (calm.matches) {
      move(newScale, newX, newY);
      return;
    }
    const from = [scale, x, y], begin = performance.now();
    const step = (now) => {
      const t = clamp((now - begin) / 220, 0, 1), done = 1 - (1 - t) ** 3;
      const [s, a, b] = [newScale, newX, newY].map((goal, i) => from[i] + (goal - from[i]) * done);
      move(s, a, b);
      if (t < 1) gliding = requestAnimationFrame(step);
    };
    gliding = requestAnimationFrame(step);
  }
  function zoomAt(factor, pointX = svg.clientWidth / 2, pointY = svg.clientHeight / 2) {
    cancelAnimationFrame(gliding);
    const newScale = clamp(scale * factor, SMALLEST, LARGEST), ratio = newScale / scale;
    move(newScale, pointX - (pointX - x) * ratio, pointY - (pointY - y) * ratio);
  }
  function panBy(right, down) {
    cancelAnimationFrame(gliding);
    move(scale, x + right, y + down);
  }
  function fitting() {
    const wide = (svg.clientWidth - 2 * MARGIN) / size.width, high = (svg.clientHeight - 2 * MARGIN) / size.height;
    return clamp(Math.min(wide, high), SMALLEST, 1);
  }
  function centred(newScale, rectangle) {
    return [
      newScale,
      svg.clientWidth / 2 - newScale * (rectangle.x + rectangle.width / 2),
      svg.clientHeight / 2 - newScale * (rectangle.y + rectangle.height / 2),
    ];
  }
  const whole = () => ({ x: 0, y: 0, width: size.width, height: size.height });

  // The whole model if it can be read that way, else as large as it is, from where the data enters.
  function begin(entrance) {
    const fit = fitting();
    if (fit > 0.55) {
      move(...centred(fit, whole()));
      return;
    }
    const wide = (svg.clientWidth - 2 * MARGIN) / size.width;
    const [newScale, left, top] = centred(clamp(wide, 0.7, 1), entrance);
    const roomX = svg.clientWidth - MARGIN - size.width * newScale;
    const roomY = svg.clientHeight - MARGIN - size.height * newScale;
    move(
      newScale,
      roomX >= MARGIN ? (roomX + MARGIN) / 2 : clamp(left, roomX, MARGIN),
      roomY >= MARGIN ? (roomY + MARGIN) / 2 : clamp(top, roomY, MARGIN),
    );
  }
  // Moves as little as brings a rectangle of the picture into sight; of what is too large, the beginning.
  function reach(start, length, room) {
    if (length > room - 80) return start > 40 && start < room / 2 ? 0 : 40 - start;
    return Math.max(20 - start, 0) || Math.min(room - 20 - start - length, 0);
  }
  function show({ x: left, y: top, width, height }) {
    const right = reach(left * scale + x, width * scale, svg.clientWidth);
    const down = reach(top * scale + y, height * scale, svg.clientHeight);
    if (right || down) glide(scale, x + right, y + down);
  }
  // Brings a rectangle into the middle, large enough to be read.
  function visit(rectangle) {
    const newScale = Math.max(scale, 0.75);
    const width = Math.min(rectangle.width, (svg.clientWidth - 80) / newScale);
    const height = Math.min(rectangle.height, (svg.clientHeight - 80) / newScale);
    glide(...centred(newScale, { ...rectangle, width, height }));
  }

  // Drag with one pointer, pinch with two.
  const pointers = new Map();
  let travelled = 0;
  svg.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  svg.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (travelled < 4) return;
    svg.setPointerCapture(event.pointerId);
    svg.classList.add('dragging');
    if (pointers.size === 1) {
      panBy(now[0] - before[0], now[1] - before[1]);
    } else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const spread = (end) => Math.hypot(end[0] - other[0], end[1] - other[1]);
      zoomAt(spread(now) / Math.max(spread(before), 1), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    }
    pointers.set(event.pointerId, now);
  });
  for (const ending of ['pointerup', 'pointercancel']) {
    svg.addEventListener(ending, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) svg.classList.remove('dragging');
    });
  }
  // What ends a drag is no click on the layer below the pointer.
  svg.addEventListener('click', (event) => travelled >= 4 && event.stopPropagation(), true);
  svg.addEventListener('wheel', (event) => {
    const isInPage = 'embedded' in document.documentElement.dataset && !document.hasFocus();
    if (isInPage && !event.ctrlKey) return; // scrolling past a notebook's cell is no zooming
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    if (event.shiftKey) panBy(-pixels - event.deltaX, 0);
    else zoomAt(Math.exp(clamp(-pixels * (event.ctrlKey ? 0.01 : 0.0016), -0.5, 0.5)), event.offsetX, event.offsetY);
  }, { passive: false });

  // On paper there is no window: the picture has its own size.
  for (const name of ['width', 'height', 'viewBox']) svg.removeAttribute(name);
  addEventListener('beforeprint', () => {
    const width = size.width + 2 * MARGIN, height = size.height + 2 * MARGIN;
    svg.setAttribute('viewBox', `${-MARGIN} ${-MARGIN} ${width} ${height}`);
    svg.setAttribute('width', width);
    svg.setAttribute('height', height);
    view.removeAttribute('transform');
    view.classList.remove('far');
  });
  addEventListener('afterprint', () => {
    for (const name of ['width', 'height', 'viewBox']) svg.removeAttribute(name);
    draw();
  });
  // What was in the middle stays there when the panel comes or the window changes.
  let [wide, high] = [svg.clientWidth, svg.clientHeight];
  function resized() {
    const [right, down] = [(svg.clientWidth - wide) / 2, (svg.clientHeight - high) / 2];
    [wide, high] = [svg.clientWidth, svg.clientHeight];
    if (right || down) panBy(right, down);
  }
  addEventListener('resize', resized);

  return {
    zoomAt, panBy, begin, show, visit, resized,
    fit: () => glide(...centred(fitting(), whole())),
    // The picture has changed: the point that was at `before` is at `after` now, and stays where it is seen.
    hold: (before, after) => move(scale, x + (before.x - after.x) * scale, y + (before.y - after.y) * scale),
  };
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
