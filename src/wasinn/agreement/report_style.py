# SPDX-License-Identifier: Apache-2.0
"""The style of the report: light and dark by the reader's setting, and paper."""

from __future__ import annotations

#: So many sides have a colour of their own; further ones begin again.
COLOURS = 6

# Every text has a contrast of at least 4.5 to its ground, every bar of at least 3. What is said by colour is
# said in words or by a letter as well.
CSS = """
:root {
  color-scheme: light dark;
  --ground: #f4f5f7; --card: #ffffff; --text: #1a1d21; --soft: #555c66; --line: #d5d9df; --track: #e9ecf0;
  --good: #14632f; --good-ground: #e3f3e8; --bad: #a30d25; --bad-ground: #fde8ea; --link: #0b57a4;
  --s0: #0b62a8; --s1: #b3470b; --s2: #1b7a4b; --s3: #8a3ca0; --s4: #8a5f00; --s5: #00707a;
  --on-side: #ffffff;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14171b; --card: #1d2126; --text: #e8eaed; --soft: #a5adb8; --line: #3a4048; --track: #2c3138;
    --good: #86dba6; --good-ground: #173321; --bad: #ff9aa5; --bad-ground: #431b22; --link: #8ab8f0;
    --s0: #6bb0f0; --s1: #f0935a; --s2: #5fc796; --s3: #cf94e0; --s4: #d9ad3c; --s5: #4fc3cd;
    --on-side: #14171b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 0; }
h4 { font-size: .95rem; margin: 1.1rem 0 .4rem; }
p { margin: .3rem 0; }
a { color: var(--link); }
h1, h2, h3, h4, p, td, th, li, dd, figcaption { overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.small { font-size: .85rem; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.number, th.number { text-align: right; }
.verdict {
  margin: 1rem 0; padding: .8rem 1rem; border-radius: .5rem; border-left: .4rem solid;
  background: var(--good-ground);
  border-color: var(--good);
}
.verdict strong { color: var(--good); font-size: 1.15rem; }
.verdict.bad { background: var(--bad-ground); border-color: var(--bad); }
.verdict.bad strong { color: var(--bad); }
.verdict ul { margin: .4rem 0 0; padding-left: 1.2rem; }
.panel, .card {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem;
  margin: 0 0 1rem;
}
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); font-size: .85rem; padding: 0 0 .4rem; }
th, td {
  text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-top: 1px solid var(--line);
}
th:last-child, td:last-child { padding-right: 0; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: .85rem; }
thead th { vertical-align: bottom; overflow-wrap: break-word; }
tbody th { font-weight: 600; }
.grid tbody td { min-width: 6rem; }
.grid tbody th { min-width: 10rem; }
.grid td.contract { min-width: 15rem; }
.grid .word { white-space: nowrap; overflow-wrap: normal; }
.grid .words { overflow-wrap: normal; }
.grid tbody td.number, .grid td.state { min-width: 0; }
.badge {
  display: inline-block; min-width: 1.5em; padding: 0 .35em; border-radius: .3em; text-align: center;
  font-weight: 700; font-size: .85em; background: var(--side); color: var(--on-side);
}
.side0 { --side: var(--s0); } .side1 { --side: var(--s1); } .side2 { --side: var(--s2); }
.side3 { --side: var(--s3); } .side4 { --side: var(--s4); } .side5 { --side: var(--s5); }
.chip {
  display: inline-block; padding: 0 .5em; border-radius: 1em; font-size: .8rem; font-weight: 600;
  white-space: nowrap;
  background: var(--good-ground); color: var(--good);
}
.chip.bad { background: var(--bad-ground); color: var(--bad); }
.chip.plain { background: var(--track); color: var(--soft); }
.head { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; margin-bottom: .8rem; }
.head h3 { min-width: 0; }
.body { display: flex; flex-wrap: wrap; gap: 1rem; }
.body > .picture { flex: 0 1 15rem; margin: 0; }
.body > .answers { flex: 1 1 30rem; min-width: 0; }
.views {
  display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr));
}
.views.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.view {
  border: 1px solid var(--line); border-top: .25rem solid var(--side); border-radius: .35rem;
  padding: .6rem .7rem; min-width: 0;
}
.view.bad { outline: 2px solid var(--bad); outline-offset: -1px; }
.view > header { display: flex; gap: .45rem; align-items: baseline; margin-bottom: .4rem; }
.view > header b { min-width: 0; overflow-wrap: anywhere; }
.view .why { color: var(--bad); font-size: .85rem; margin: 0 0 .4rem; }
figure { margin: 0; }
figure img {
  display: block; width: 100%; height: auto; border-radius: .25rem; border: 1px solid var(--line);
}
figure img.tiny { image-rendering: pixelated; }
figcaption { font-size: .85rem; color: var(--soft); margin-top: .3rem; }
ol.best { list-style: none; margin: 0; padding: 0; }
ol.best li { margin: 0 0 .45rem; }
ol.best .line {
  display: flex; gap: .6rem; justify-content: space-between; align-items: baseline; font-size: .9rem;
}
ol.best .label {
  min-width: 0; overflow: hidden; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 2; line-clamp: 2;
}
ol.best li.other .label { color: var(--bad); font-weight: 600; }
ol.best .mark { font-size: .75rem; color: var(--bad); }
svg.bar { display: block; width: 100%; height: .5rem; border-radius: .15rem; }
svg .track { fill: var(--track); }
svg .fill { fill: var(--side); }
svg .zero { stroke: var(--soft); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg.histogram { display: block; width: 100%; height: 6rem; }
.gap {
  display: grid; grid-template-columns: 1.9rem 1fr 4.8rem; gap: .5rem; align-items: center;
  margin: .1rem 0;
}
.gap svg { height: .7rem; }
ul.gaps {
  list-style: none; margin: .4rem 0 0; padding: 0; display: grid; gap: .6rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
}
ul.gaps li { min-width: 0; }
ul.gaps .label { font-size: .9rem; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.axis { display: flex; justify-content: space-between; font-size: .8rem; color: var(--soft); }
ul.legend {
  list-style: none; display: flex; flex-wrap: wrap; gap: .15rem .9rem; margin: .4rem 0 0; padding: 0;
  font-size: .85rem;
}
ul.legend .swatch {
  display: inline-block; width: .85em; height: .85em; border-radius: .15em; margin-right: .35em;
  border: 1px solid var(--soft); vertical-align: -.08em;
}
dl.facts { display: grid; grid-template-columns: auto 1fr; gap: .05rem .7rem; margin: 0; font-size: .9rem; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; }
footer { margin-top: 2rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) {
  main { padding: 1rem .7rem 2rem; }
  .panel, .card { padding: .75rem; }
  .body > .picture { flex-basis: 100%; }
  .body > .picture img { max-width: 18rem; }
}
@page { size: A4; margin: 13mm; }
@media print {
  :root { color-scheme: light; --ground: #ffffff; font-size: 11.5px; }
  body { font-size: 12px; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  .card, .view, .verdict, tr, figure, ul.gaps li { break-inside: avoid; }
  .card.long { break-inside: auto; }
  h2, h3, h4, .head { break-after: avoid; }
  thead { display: table-header-group; }
  .panel { border: 0; padding: 0; }
  a { color: inherit; text-decoration: none; }
  .body { display: block; }
  .body > .picture { float: left; width: 22%; margin: 0 3mm 2mm 0; }
  .body > .answers { overflow: hidden; }
  .views { grid-template-columns: repeat(auto-fill, minmax(31mm, 1fr)); gap: 2mm; }
  ul.gaps { grid-template-columns: repeat(3, 1fr); }
  .views.wide { grid-template-columns: repeat(2, 1fr); }
  .body.many > .picture { float: none; width: 26mm; margin: 0 0 2mm; }
  .many .views { grid-template-columns: repeat(auto-fill, minmax(26mm, 1fr)); gap: 1.5mm; }
  .many .view { padding: .4rem; }
  h2 + p, h4 + p { break-after: avoid; }
  .grid tbody td, .grid tbody th { min-width: 5.4rem; padding-right: .5rem; }
  .grid tbody td.number, .grid td.state, .grid td.word { min-width: 0; }
  .grid tbody th { min-width: 7.5rem; }
  .gap { grid-template-columns: 1.9rem 1fr 5rem; }
}
"""
