"""How a report looks: by day and by night, on a desk and in a hand, with the fonts that the reader has."""

CSS = """
:root { color-scheme: light dark; --page: #faf9f6; --card: #ffffff; --ink: #1e1d24; --soft: #5d5b66;
  --line: #e3e0d8; --accent: #332288; --wash: #f1efe9; }
@media (prefers-color-scheme: dark) { :root { --page: #16161a; --card: #ffffff; --ink: #e9e7e2; --soft: #a5a3ad;
  --line: #313138; --accent: #b3a9f0; --wash: #1f1f25; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header, footer { max-width: 52rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: clamp(2rem, 7vw, 4.5rem); }
h1, h2 { font-family: "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  font-weight: 600; line-height: 1.2; letter-spacing: -0.01em; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.8rem, 5vw, 2.6rem); margin: 0 0 .6rem; }
h2 { font-size: 1.45rem; margin: 3.2rem 0 .5rem; scroll-margin-top: 1rem; }
p { margin: .5rem 0 1rem; max-width: 42rem; }
.lede { font-size: 1.1rem; color: var(--soft); overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.4rem; margin: 1.4rem 0 0; padding: .75rem 0;
  border-block: 1px solid var(--line); font-size: .92rem; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; text-underline-offset: .2em; }
table { width: 100%; border-collapse: collapse; margin: 1rem 0 0; }
th, td { text-align: left; vertical-align: baseline; padding: .7rem 0; border-bottom: 1px solid var(--line); }
thead th { font-size: .82rem; font-weight: 500; color: var(--soft); padding: .3rem 0; }
tbody th { font-weight: 600; padding-right: 1.5rem; }
th small { display: block; max-width: 36rem; margin-top: .15rem; font-size: .9rem; font-weight: 400; line-height: 1.5;
  color: var(--soft); }
.numbers td, .numbers thead th:last-child { text-align: right; }
.numbers td { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
.numbers tr.big th, .numbers tr.big td { padding-block: 1rem; font-size: 1.3rem; }
.facts th:first-child { width: 11rem; }
.facts th { font-weight: 500; color: var(--soft); }
.facts th, .facts td { padding: .45rem 1rem .45rem 0; font-size: .95rem; overflow-wrap: anywhere; }
.facts thead th { font-size: .82rem; }
figure { margin: 1.25rem 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: clamp(.6rem, 2.5vw, 1.4rem); }
.card img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { max-width: 42rem; margin: .7rem 0 0; font-size: .92rem; color: var(--soft); }
.note { background: var(--wash); border-left: 3px solid var(--accent); border-radius: 0 6px 6px 0;
  padding: .8rem 1rem; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--wash);
  padding: .1em .35em; border-radius: 4px; overflow-wrap: anywhere; }
footer { margin-top: 4rem; padding-block: 1.2rem 3rem; color: var(--soft); font-size: .88rem; }
@media (max-width: 34rem) {
  .numbers thead { display: none; }
  .numbers tr { display: block; border-bottom: 1px solid var(--line); padding: .8rem 0; }
  .numbers tr.big th, .numbers tr.big td, .numbers th, .numbers td { display: block; border: 0; padding: 0;
    text-align: left; }
  .numbers td { font-size: 1.2rem; padding-top: .25rem; }
  .facts th:first-child { width: 8rem; }
}
@media print { nav { display: none; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  body { background: #fff; } }
"""
