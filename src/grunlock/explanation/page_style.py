"""The style sheet of explanation pages: light and dark, wide and narrow. Colours keep AA contrast (4.5:1)."""

STYLE = """
:root { color-scheme: light dark; --ink: #16181d; --paper: #ffffff; --faint: #5b6270; --line: #d5d9e0;
  --panel: #f5f6f8; --for: #8ecbff; --against: #ffb870; --bar: #1f6fb2; --left: #b2541f; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --paper: #14161a; --faint: #a3abba;
  --line: #363b45; --panel: #1d2026; --for: #17588f; --against: #8a4a0a; --bar: #6db3ef; --left: #f0a070; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem 1rem 5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
p { margin: .3rem 0; } .faint, figcaption, caption { color: var(--faint); font-size: .88rem; }
caption { text-align: start; padding-bottom: .2rem; }
figure { margin: .6rem 0; }
.text { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem .8rem;
  font-size: 1.1rem; line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
.t { border-radius: .2rem; padding: .12em 0; }
.for { background: color-mix(in srgb, var(--for) var(--s), transparent);
  box-shadow: inset 0 -2px color-mix(in srgb, var(--bar) var(--s), transparent); }
.against { background: color-mix(in srgb, var(--against) var(--s), transparent);
  border-block-end: 2px dotted color-mix(in srgb, var(--left) var(--s), transparent); }
.t:hover, .t:focus-visible { outline: 2px solid var(--ink); outline-offset: 1px; }
.t:hover::after, .t:focus::after { content: attr(data-tip); position: fixed; inset: auto 0 0 0; z-index: 1;
  padding: .6rem 1rem; background: var(--ink); color: var(--paper); font-size: .95rem; line-height: 1.4;
  white-space: pre-wrap; text-align: start; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--ink); }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: end; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:first-child, td:first-child { text-align: start; overflow-wrap: break-word; }
th { font-weight: 600; font-size: .9rem; }
svg text { fill: var(--ink); font-size: 12px; } svg .axis { stroke: var(--line); }
.rewrote { fill: var(--bar); } .survived { fill: none; stroke: var(--left); stroke-width: 2; }
.key { display: inline-block; width: 1em; height: .8em; vertical-align: baseline; border-radius: .15em; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 0 2rem; }
"""
