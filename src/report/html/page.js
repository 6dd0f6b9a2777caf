'use strict';
// Values under the pointer. Without this the page shows those at the end.
for (const figure of document.querySelectorAll('figure.chart')) {
  const plot = figure.querySelector('.plot');
  if (!plot) continue;
  const svg = plot.querySelector('svg');
  const hair = plot.querySelector('.crosshair');
  const rows = figure.querySelector('.readout').tBodies[0].rows;
  const at = figure.querySelector('.at span');
  const low = Number(plot.dataset.low), high = Number(plot.dataset.high);
  const lines = [...svg.querySelectorAll('[data-y]')].map(path => ({
    path,
    xs: path.dataset.x.split(' ').map(Number),
    ys: path.dataset.y.split(' '),
    cell: rows[path.dataset.row].cells[Number(path.dataset.column) + 1],
  }));
  const places = [...new Set(lines.flatMap(line => line.xs))].sort((a, b) => a - b);
  const atEnd = { at: at.textContent, cells: lines.map(line => line.cell.textContent) };
  let place = -1, marks = [];

  const nearest = (xs, x) => {
    let from = 0, to = xs.length - 1;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (xs[middle] < x) from = middle + 1; else to = middle;
    }
    return from > 0 && x - xs[from - 1] < xs[from] - x ? from - 1 : from;
  };
  // The path's own points, so that a mark lies where the line is.
  const points = path => path.getAttribute('d').slice(1, -2).split('L');

  function show(next) {
    place = Math.max(0, Math.min(places.length - 1, next));
    const x = places[place];
    hair.hidden = false;
    hair.style.left = 100 * (x - low) / (high - low) + '%';
    at.textContent = x.toLocaleString('en');
    marks.forEach(mark => mark.remove());
    marks = [];
    for (const line of lines) {
      const last = line.xs[line.xs.length - 1];
      const i = nearest(line.xs, x);
      const ended = x > last && (x - last) > 0.02 * (high - low);
      line.cell.textContent = ended ? 'ended' : line.ys[i];
      line.cell.title = line.xs[i] === x ? '' : 'at ' + line.xs[i].toLocaleString('en');
      if (ended || !line.path.classList.contains('bold')) continue;
      const mark = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      mark.setAttribute('class', line.path.classList[0] + ' mark');
      mark.setAttribute('d', 'M' + points(line.path)[i] + 'h0');
      svg.append(mark);
      marks.push(mark);
    }
  }
  function hide() {
    place = -1;
    hair.hidden = true;
    at.textContent = atEnd.at;
    lines.forEach((line, i) => { line.cell.textContent = atEnd.cells[i]; line.cell.title = ''; });
    marks.forEach(mark => mark.remove());
    marks = [];
  }
  const point = event => {
    const box = svg.getBoundingClientRect();
    show(nearest(places, low + (high - low) * (event.clientX - box.left) / box.width));
  };
  plot.addEventListener('pointerdown', point);
  plot.addEventListener('pointermove', point);
  plot.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') hide(); });
  plot.addEventListener('blur', hide);
  document.addEventListener('pointerdown', event => { if (!figure.contains(event.target)) hide(); });
  plot.addEventListener('keydown', event => {
    const last = places.length - 1;
    const stride = event.shiftKey ? Math.ceil(places.length / 10) : 1;
    const from = place < 0 ? last : place;
    const next = { ArrowLeft: from - stride, ArrowRight: from + stride, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') hide();
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  });
  // A row of the table lights its curves.
  for (const row of rows) {
    const mine = lines.filter(line => line.path.dataset.row === row.dataset.row);
    row.addEventListener('pointerenter', () => {
      svg.classList.add('dim');
      mine.forEach(line => line.path.classList.add('lit'));
    });
    row.addEventListener('pointerleave', () => {
      svg.classList.remove('dim');
      mine.forEach(line => line.path.classList.remove('lit'));
    });
  }
}

for (const figure of document.querySelectorAll('figure.forest')) {
  const tip = figure.querySelector('.tip');
  const words = tip.textContent;
  for (const strip of figure.querySelectorAll('.strip[tabindex]')) {
    const dots = [...strip.querySelectorAll('.dot')];
    let lit = -1;
    const show = i => {
      if (i < 0 && lit < 0) return;
      dots.forEach(dot => dot.classList.remove('lit'));
      lit = i;
      tip.textContent = i < 0 ? words : dots[i].dataset.tip;
      if (i >= 0) dots[i].classList.add('lit');
    };
    const point = event => {
      let best = -1, least = Infinity;
      dots.forEach((dot, i) => {
        const box = dot.getBoundingClientRect();
        const far = Math.hypot(event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2);
        if (far < least) { least = far; best = i; }
      });
      show(best);
    };
    strip.addEventListener('pointerdown', point);
    strip.addEventListener('pointermove', point);
    strip.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse') show(-1); });
    strip.addEventListener('blur', () => show(-1));
    document.addEventListener('pointerdown', event => { if (!strip.contains(event.target)) show(-1); });
    strip.addEventListener('keydown', event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === 'Escape') show(-1);
      if (!step || dots.length === 0) return;
      event.preventDefault();
      show(Math.max(0, Math.min(dots.length - 1, lit < 0 ? 0 : lit + step)));
    });
  }
}
// What was pointed at is not for paper; what is folded is.
let unfolded = [];
addEventListener('beforeprint', () => {
  document.dispatchEvent(new Event('pointerdown'));
  unfolded = [...document.querySelectorAll('details:not([open])')];
  unfolded.forEach(details => { details.open = true; });
});
addEventListener('afterprint', () => unfolded.forEach(details => { details.open = false; }));
