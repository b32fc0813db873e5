// What there is to say about one layer, at the side.

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const swatch = (kind) => make('span', { className: `swatch k-${kind}` });
const counted = (number) => number.toLocaleString('en-US');
const plural = (number, word) => `${counted(number)} ${word}${number === 1 ? '' : 's'}`;

function fillPanel(panel, box, actions) {
  const { facts } = box;
  const title = make('h2', { id: 'panel-title', tabIndex: -1 }, facts.name);
  const close = make('button', { className: 'square', type: 'button', title: 'Close (Esc)', onclick: actions.close }, '✕');
  close.setAttribute('aria-label', 'Close the details');
  const fold = make('button', { className: 'act', type: 'button', onclick: () => actions.fold(box) }, foldLabel(box));
  panel.replaceChildren(
    make('div', { className: 'top' },
      make('div', {}, title, make('p', { className: 'kind' }, swatch(facts.kind), typeOf(facts))), close),
    ...(box.inside ? [fold] : []),
    overview(box),
    ...callTables(facts),
    ...parameterTable(facts),
    ...section('Settings', facts.config),
    ...connections('Comes from', box.before, actions),
    ...connections('Goes to', box.after, actions),
  );
  panel.scrollTop = 0;
}

function typeOf(facts) {
  const wrapped = facts.wraps ? ` around ${facts.wraps[0]}: ${facts.wraps[1]}` : '';
  return facts.type + wrapped;
}

const foldLabel = (box) => (box.isOpen ? 'Close this model' : 'Open this model');

function overview(box) {
  const { facts } = box;
  const rows = [];
  if (facts.path !== facts.name) rows.push(['Path', facts.path]);
  const inside = [];
  for (let outer = box.parent; outer; outer = outer.parent) inside.unshift(outer.facts.name);
  if (inside.length) rows.push(['Inside', inside.join(' › ')]);
  if (box.inside) rows.push(['Contains', plural(box.inside.boxes.length, 'layer')]);
  if (facts.note) rows.push(['Note', facts.note]);
  if (!facts.built) rows.push(['Weights', 'not built yet']);
  else if (facts.trainable + facts.frozen) {
    let state = facts.frozen ? 'frozen' : 'trainable';
    if (facts.frozen && facts.trainable) state = `of them ${counted(facts.frozen)} frozen`;
    rows.push(['Parameters', `${counted(facts.trainable + facts.frozen)}, ${state}`]);
  } else rows.push(['Parameters', 'none']);
  const macs = (facts.calls ?? []).map((call) => call.macs);
  if (macs.length && macs.every((number) => number !== undefined)) {
    rows.push(['Multiply-adds', counted(macs.reduce((sum, number) => sum + number, 0))]);
  }
  return make('div', {}, ...section('Overview', rows));
}

function section(heading, rows) {
  if (!rows?.length) return [];
  const lines = rows.map(([name, ...value]) =>
    make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, ...value)));
  return [make('h3', {}, heading), make('table', {}, ...lines)];
}

function callTables(facts) {
  const calls = facts.calls ?? [];
  return calls.flatMap((call, i) => {
    const rows = [['Input', call.in], ['Output', call.out]].flatMap(([name, specs]) =>
      specs.map(([shape, dtype], k) =>
        [specs.length > 1 ? `${name} ${k + 1}` : name, `${shape} `, make('small', {}, dtype)]));
    return section(calls.length > 1 ? `Call ${i + 1} of ${calls.length}` : 'Tensors', rows);
  });
}

function parameterTable(facts) {
  const rows = (facts.parameters ?? []).map(([name, shape, dtype, count, isTrainable]) =>
    make('tr', {},
      make('td', {}, name, make('br'), make('small', {}, `${shape} ${dtype}${isTrainable ? '' : ', frozen'}`)),
      make('td', { className: 'number' }, counted(count))));
  return rows.length ? [make('h3', {}, 'Parameters'), make('table', {}, ...rows)] : [];
}

function connections(heading, boxes, actions) {
  if (!boxes.length) return [];
  const items = [...new Set(boxes)].map((box) =>
    make('li', {}, make('button', { type: 'button', onclick: () => actions.visit(box) },
      swatch(box.facts.kind), make('span', {}, box.facts.title))));
  return [make('h3', {}, heading), make('ul', { className: 'links' }, ...items)];
}

function fillLegend(list, boxes) {
  const kinds = new Set(boxes.map((box) => box.facts.kind));
  list.replaceChildren(...[...kinds].sort().map((kind) => make('li', {}, swatch(kind), kind)));
}
