"""How the report looks: light and dark as the reader's system is, narrow and wide, on the screen and on paper."""

from geochat.visualization.boxes import PREDICTED_COLOR, TRUE_COLOR
from geochat.visualization.report.gallery import ASKED_COLOR

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --raised: #f5f6f8; --ink: #1b1f24; --faint: #5b6470; --line: #d5d9df; --accent: #1f5fc4;
  --warning: #a33a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #15181c; --raised: #1f242a; --ink: #e6e9ed; --faint: #9aa4b0; --line: #363d46; --accent: #8ab4ff;
    --warning: #ffa873;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem clamp(0.75rem, 3vw, 2rem); max-width: 84rem; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.5rem; margin: 0 0 0.5rem; }
h2 { font-size: 1.2rem; margin: 0 0 0.75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 0.5rem; }
.results h3 { margin-top: 0; }
a { color: var(--accent); }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 0.9rem; }
section { border-top: 1px solid var(--line); margin-top: 1.5rem; padding-top: 1.25rem; }
.notes { border: 1px solid var(--warning); border-radius: 8px; padding: 1rem; }
.notes ul { margin: 0; padding-left: 1.2rem; max-height: 16rem; overflow-y: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.75rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--faint); white-space: nowrap; }
.text { text-align: left; }
small, .legend { color: var(--faint); font-size: 0.85rem; }
.legend { margin: 0.35rem 0; }
summary { cursor: pointer; margin: 0.5rem 0; color: var(--accent); }
pre { white-space: pre-wrap; font-size: 0.8rem; margin: 0.25rem 0; }
dl { margin: 0; display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 0.75rem; }
dt { color: var(--faint); }
dd { margin: 0; min-width: 0; unicode-bidi: isolate; white-space: pre-wrap; overflow-wrap: anywhere; }
.results { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; margin-top: 1rem; }
.results > * { max-width: 100%; min-width: 0; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: flex-start; flex: 1 1 24rem; }
figure { margin: 0; max-width: 100%; }
figure svg { display: block; max-width: 100%; height: auto; }
figure svg text { font-family: system-ui, sans-serif !important; }
figcaption { font-size: 0.85rem; color: var(--faint); }
figcaption ol { margin: 0.25rem 0; padding-left: 1.5rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); gap: 1rem; }
article { background: var(--raised); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
article img { display: block; width: 100%; height: auto; max-height: 32rem; object-fit: contain; background: #000; }
article dl, article .head, article .legend { padding: 0 0.75rem; }
article dl { padding-bottom: 0.6rem; font-size: 0.85rem; }
article dd { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
.head { display: flex; flex-wrap: wrap; gap: 0 0.5rem; margin: 0.4rem 0; font-size: 0.85rem; }
.head span { min-width: 0; overflow-wrap: anywhere; }
.head span + span { flex: 1 1 auto; text-align: right; }
.no-picture { margin: 0; padding: 2rem 0.75rem; text-align: center; color: var(--faint); background: var(--line); }
.flag { color: var(--warning); }
.key { display: inline-block; width: 0.8em; height: 0.8em; border: 1px solid #000; margin: 0 0.35em 0 0.75em; }
@media print {
  :root { color-scheme: light; --ground: #fff; --raised: #fff; --ink: #000; --faint: #444; --line: #bbb; }
  body { max-width: none; font-size: 11px; }
  nav { display: none; }
  article, figure, tr, .notes { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide { overflow: visible; }
  .notes ul { max-height: none; }
  .gallery { grid-template-columns: repeat(4, 1fr); gap: 0.5rem; }
  table { font-size: 9px; }
  th, td { padding: 0.15rem 0.35rem; }
  th { white-space: normal; }
  .key, article img { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""

STYLE += ''.join(
    f'.{name} {{ background: rgb{color}; }}\n'
    for name, color in (('true', TRUE_COLOR), ('predicted', PREDICTED_COLOR), ('asked', ASKED_COLOR))
)
