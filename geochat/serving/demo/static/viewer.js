// The picture of the page: opens files, draws the user's box, and shows what the server tells (views.py, viewer_state).
// Gradio runs this with `element`, `props`, `trigger` and `watch`. Boxes are in pixels of the picture as it was given.

const find = (selector) => element.querySelector(selector);
const stage = find('.gc-stage');
const picture = find('.gc-picture');
const overlay = find('.gc-overlay');
const error = find('.gc-error');
const LEAST_SIDE = 6; // pixels on the screen; a shorter drag is a click, and takes the box away
const TURN = Math.PI / 36;

let size = null; // width and height of the picture that is shown
let box = null; // {cx, cy, w, h, angle}, the angle in radians, clockwise on screen
let drag = null; // what the pointer that is down does: {id, start} draws, {id, turning} turns
let armed = false; // whether a finger draws instead of scrolling the page
let number = 0; // which picture it is, whatever is drawn on it
let version = 0; // how often the picture or the dialogue has changed

// ---- the box

function corners() {
  const [cos, sin] = [Math.cos(box.angle), Math.sin(box.angle)];
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([x, y]) => {
    const [dx, dy] = [x * box.w / 2, y * box.h / 2];
    return [box.cx + dx * cos - dy * sin, box.cy + dx * sin + dy * cos];
  });
}

function handle() {
  const reach = box.h / 2 + 26 * perPixel();
  return [box.cx + reach * Math.sin(box.angle), box.cy - reach * Math.cos(box.angle)];
}

// Pixels of the picture for each on the screen.
function perPixel() {
  return size.width / picture.getBoundingClientRect().width;
}

function place(event) {
  const area = picture.getBoundingClientRect();
  const clip = (value, most) => Math.min(Math.max(value, 0), most);
  return [
    clip((event.clientX - area.left) / area.width, 1) * size.width,
    clip((event.clientY - area.top) / area.height, 1) * size.height,
  ];
}

function paint() {
  overlay.classList.toggle('gc-has-box', box !== null);
  find('.gc-identify').disabled = find('.gc-remove').disabled = box === null;
  if (box === null) return;
  const points = corners();
  find('.gc-box').setAttribute('points', points.map((point) => point.join(',')).join(' '));
  const [x, y] = handle();
  const top = [(points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2];
  const circle = find('.gc-handle');
  const stem = find('.gc-stem');
  const set = (node, values) => Object.entries(values).forEach(([name, value]) => node.setAttribute(name, value));
  set(circle, { cx: x, cy: y, r: 9 * perPixel() });
  set(stem, { x1: top[0], y1: top[1], x2: x, y2: y });
}

function numbers() {
  return box === null ? null : [box.cx, box.cy, box.w, box.h, box.angle];
}

// The box is a part of the value, which goes to the server with a question.
function keep() {
  props.value = { ...props.value, box: numbers() };
}

function setBox(value) {
  box = value;
  paint();
  keep();
  if (box !== null) trigger('drawn');
}

// ---- drawing with a mouse, a pen or a finger

function between([x, y], [u, v]) {
  return { cx: (x + u) / 2, cy: (y + v) / 2, w: Math.abs(u - x), h: Math.abs(v - y), angle: 0 };
}

stage.addEventListener('pointerdown', (event) => {
  const turning = event.target === find('.gc-handle');
  if (!size || drag || event.button !== 0 || (event.pointerType === 'touch' && !armed && !turning)) return;
  event.preventDefault();
  stage.focus({ preventScroll: true });
  stage.setPointerCapture(event.pointerId);
  drag = turning ? { id: event.pointerId, turning } : { id: event.pointerId, start: place(event) };
});

stage.addEventListener('pointermove', (event) => {
  if (!drag || event.pointerId !== drag.id) return;
  if (drag.turning) {
    const area = picture.getBoundingClientRect();
    const x = (event.clientX - area.left) * perPixel() - box.cx;
    const y = (event.clientY - area.top) * perPixel() - box.cy;
    box.angle = Math.atan2(x, -y);
  } else {
    box = between(drag.start, place(event));
  }
  paint();
});

function drop(event) {
  if (!drag || event.pointerId !== drag.id) return;
  const least = LEAST_SIDE * perPixel();
  const kept = drag.turning || (box && event.type === 'pointerup' && box.w >= least && box.h >= least);
  drag = null;
  setBox(kept ? box : null);
}
stage.addEventListener('pointerup', drop);
stage.addEventListener('pointercancel', drop);

stage.addEventListener('keydown', (event) => {
  if (!size || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = Math.max(size.width, size.height) / 100;
  const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === 'Enter' && !box) {
    setBox({ cx: size.width / 2, cy: size.height / 2, w: size.width / 4, h: size.height / 4, angle: 0 });
  } else if (box && arrow && event.shiftKey) {
    const [w, h] = [box.w + arrow[0] * step, box.h + arrow[1] * step];
    if (w >= 1 && h >= 1) setBox({ ...box, w, h });
  } else if (box && arrow) {
    const [cx, cy] = [box.cx + arrow[0] * step, box.cy + arrow[1] * step];
    if (cx >= 0 && cy >= 0 && cx <= size.width && cy <= size.height) setBox({ ...box, cx, cy });
  } else if (box && '[]'.includes(event.key)) {
    setBox({ ...box, angle: box.angle + (event.key === ']' ? TURN : -TURN) });
  } else if (box && (event.key === 'Delete' || event.key === 'Backspace')) {
    setBox(null);
  } else {
    return;
  }
  event.preventDefault();
});

function arm(value) {
  armed = value;
  stage.classList.toggle('gc-armed', armed);
  find('.gc-draw').setAttribute('aria-pressed', String(armed));
}
find('.gc-draw').addEventListener('click', () => arm(!armed));
find('.gc-remove').addEventListener('click', () => setBox(null));
find('.gc-identify').addEventListener('click', () => {
  arm(false);
  trigger('identify');
});

// ---- pictures

function complain(text) {
  error.textContent = text;
  error.hidden = !text;
}

async function open(file) {
  complain('');
  stage.classList.add('gc-reading');
  try {
    const reply = await fetch(`sessions/${props.value.key}/picture`, {
      method: 'POST',
      body: file,
      headers: { 'Content-Type': 'application/octet-stream', 'X-File-Name': encodeURIComponent(file.name) },
    });
    if (reply.ok) trigger('opened');
    else complain((await reply.json()).error.message);
  } catch {
    complain('The file could not be sent: the server does not answer, or has refused it.');
  } finally {
    stage.classList.remove('gc-reading');
  }
}

find('input[type=file]').addEventListener('change', (event) => {
  if (event.target.files.length) open(event.target.files[0]);
  event.target.value = ''; // the same file may be opened again
});

for (const name of ['dragover', 'dragleave', 'drop']) {
  element.addEventListener(name, (event) => {
    event.preventDefault();
    stage.classList.toggle('gc-over', name === 'dragover');
    if (name === 'drop' && event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
}

document.addEventListener('paste', (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith('image/'));
  if (file && element.isConnected) open(file);
});

for (const button of element.querySelectorAll('[data-example]')) {
  button.addEventListener('click', () => {
    complain('');
    trigger('example', { number: Number(button.dataset.example) });
  });
}

// ---- what the server tells

function show() {
  const { picture: told, files } = props.value;
  size = told;
  picture.hidden = overlay.hidden = !told;
  find('.gc-drop').hidden = Boolean(told);
  find('.gc-draw').disabled = !told;
  if (told) {
    if (picture.getAttribute('src') !== told.url) picture.src = told.url;
    picture.alt = told.alt;
    overlay.setAttribute('viewBox', `0 0 ${told.width} ${told.height}`);
    stage.style.setProperty('--ratio', told.width / told.height);
    if (number !== told.number) {
      number = told.number;
      box = null;
      arm(false);
    }
    if (version !== props.value.version) {
      version = props.value.version;
      const isAnswered = JSON.stringify(numbers()) === JSON.stringify(props.value.answered_box);
      if (isAnswered && !drag) box = null; // it is on the picture now, with its answer
    }
  }
  stage.classList.toggle('gc-has-picture', Boolean(told));
  find('.gc-files').hidden = !files;
  for (const link of element.querySelectorAll('[data-file]')) link.href = files ? files[link.dataset.file] : '';
  paint();
  keep();
}

watch('value', show);
new ResizeObserver(() => size && paint()).observe(stage);
show();
