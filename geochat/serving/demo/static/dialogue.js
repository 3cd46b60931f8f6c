// Keeps the end of the dialogue in sight, unless the user has scrolled up. Gradio runs this with `element` and `watch`.

const frame = element.closest('#gc-dialogue');
const NEAR = 40; // pixels from the end that count as the end
let atEnd = true;

frame.addEventListener('scroll', () => {
  atEnd = frame.scrollHeight - frame.scrollTop - frame.clientHeight < NEAR;
});
watch('value', () => {
  if (atEnd) frame.scrollTop = frame.scrollHeight;
});
