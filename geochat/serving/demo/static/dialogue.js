// Keeps the end of the dialogue in sight unless the user has scrolled up, and tells which answer is to be on the picture.
// Gradio runs this with `element`, `trigger` and `watch`.

const frame = element.closest('#gc-dialogue');
const NEAR = 40; // pixels from the end that count as the end
let atEnd = true;

frame.addEventListener('scroll', () => {
  atEnd = frame.scrollHeight - frame.scrollTop - frame.clientHeight < NEAR;
});
watch('value', () => {
  if (atEnd) frame.scrollTop = frame.scrollHeight;
});

element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-answer]');
  if (button) trigger('picked', { number: Number(button.dataset.answer) });
});
