"""The page's text, style and behaviour, as Python because a wheel of this package has Python files only."""

from __future__ import annotations

TEMPLATE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline' 'unsafe-eval'; img-src data:; base-uri 'none'; form-action 'none'">
<title>{{ word }} · {{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<a class="skip" href="#{{ sections[0].id }}">Skip to the first section</a>
<header>
<p class="maker">dynq-numba report</p>
<h1>{{ title }}</h1>
<p class="verdict {{ word.replace(' ', '-') }}"><strong>{{ word | upper }}</strong> <span>{{ sentence }}</span></p>
{% if tiles %}
<dl class="tiles">
{% for name, value in tiles %}
<div><dd>{{ value }}</dd><dt>{{ name }}</dt></div>
{% endfor %}
</dl>
{% endif %}
<nav aria-label="Sections"><ul>
{% for section in sections %}
<li><a href="#{{ section.id }}">{{ section.title }}</a></li>
{% endfor %}
</ul></nav>
</header>
<main>
{% for section in sections %}
<section id="{{ section.id }}" aria-labelledby="{{ section.id }}-title">
<h2 id="{{ section.id }}-title">{{ section.title }}</h2>
<p class="lead">{{ section.lead }}</p>
{% if section.charts %}
<div class="charts {{ section.id }}">
{% for chart in section.charts %}
<figure>
<figcaption>{{ chart.title }}</figcaption>
<div class="chart" role="img" aria-label="{{ chart.title }}. {{ chart.alt }}"></div>
<script type="application/json">{{ chart.spec | tojson }}</script>
</figure>
{% endfor %}
</div>
{% endif %}
{% for table in section.tables %}
<div class="table">
{% if table.rows | length > 8 %}
<label>Filter <input type="search" placeholder="words of a row"></label> <output></output>
{% endif %}
<div class="scroll" tabindex="0" role="region" aria-label="{{ table.caption }}">
<table{{ ' class="facts"' | safe if table.head[0] == 'what' }}>
<caption>{{ table.caption }}</caption>
{% if table.head[0] != 'what' %}
<thead><tr>
{% for name in table.head %}
<th scope="col"{{ ' class="n"' | safe if table.numeric[loop.index0] }} aria-sort="none">\
<button type="button">{{ name }}</button></th>
{% endfor %}
</tr></thead>
{% endif %}
<tbody>
{% set numeric = table.numeric %}
{% for row in table.rows %}
<tr>
{% for cell in row %}
{% set long = cell.text | length > 24 and not cell.is_number %}
{% set kind = 'n' if numeric[loop.index0] else 'long' if long %}
<td{% if kind %} class="{{ kind }}"{% endif %}{% if cell.key is float %} data-key="{{ cell.key }}"{% endif %}>\
{% if cell.tone %}<span class="tone {{ cell.tone }}">{{ cell.text }}</span>{% else %}{{ cell.text }}{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
</div>
{% endfor %}
{% for caption, words in section.texts %}
<h3>{{ caption }}</h3>
<pre tabindex="0">{{ words }}</pre>
{% endfor %}
{% for note in section.notes %}
<p class="note">{{ note }}</p>
{% endfor %}
</section>
{% endfor %}
</main>
<noscript><p class="note">Charts, sorting and filtering need JavaScript. All figures are in the tables.</p></noscript>
<script type="module">{{ library | safe }}</script>
<script type="module">{{ script | safe }}</script>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light dark; --back: #fff; --panel: #f6f7f9; --text: #1a1f27; --muted: #586273; --line: #d9dee6;
  --accent: #2a6fb5; --good: #1d7f4b; --bad: #bf3030; --unsure: #97650a; }
@media screen and (prefers-color-scheme: dark) {
  :root { --back: #14171c; --panel: #1d2229; --text: #e8ebf0; --muted: #a3adbb; --line: #3a424e;
    --accent: #6fb1f2; --good: #5cc98e; --bad: #f58080; --unsure: #e3b04f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
.maker { margin: 0; color: var(--muted); font-size: .85rem; }
.lead { margin: 0 0 1rem; max-width: 46rem; }
.note { color: var(--muted); font-size: .9rem; max-width: 46rem; margin: .5rem 0; }
.verdict { border-left: .4rem solid var(--accent); background: var(--panel); padding: .8rem 1rem; margin: 0 0 1rem; }
.verdict strong { color: var(--accent); font-size: 1.25rem; display: block; }
.verdict.pass, .verdict.identical, .verdict.found { border-color: var(--good); }
.verdict.pass strong, .verdict.identical strong, .verdict.found strong { color: var(--good); }
.verdict.fail, .verdict.nothing-found { border-color: var(--bad); }
.verdict.fail strong, .verdict.nothing-found strong { color: var(--bad); }
.verdict.inconclusive { border-color: var(--unsure); } .verdict.inconclusive strong { color: var(--unsure); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(12rem, 45%), 1fr)); gap: .6rem;
  margin: 0 0 1rem; }
.tiles div { background: var(--panel); padding: .6rem .8rem; border-radius: .4rem; }
.tiles dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tiles dt { color: var(--muted); font-size: .85rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.2rem; padding: 0; margin: 0; list-style: none;
  font-size: .95rem; }
a { color: var(--accent); }
section { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1.25rem; scroll-margin-top: .5rem; }
.charts { display: grid; gap: 1.25rem; }
.charts.histograms { grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
@media (min-width: 60rem) {
  .charts.layers:has(figure:nth-child(4)) { grid-template-columns: 2.4fr 1fr 1fr; }
  .charts.layers figure:first-child { grid-column: 1 / -1; }
  .charts.layers { align-items: end; } }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .25rem; }
.chart { width: 100%; min-height: 60px; }
.chart svg { max-width: 100%; display: block; }
.table { margin: 1.25rem 0; }
.table label { font-size: .9rem; color: var(--muted); }
input { font: inherit; padding: .2rem .5rem; border: 1px solid var(--muted); border-radius: .3rem;
  background: var(--back); color: var(--text); width: 16rem; max-width: 60vw; }
output { font-size: .9rem; color: var(--muted); }
.scroll { overflow-x: auto; max-height: 34rem; overflow-y: auto;
  border: 1px solid var(--line); border-radius: .4rem; margin-top: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding: .5rem; font-size: .95rem; }
th, td { padding: .3rem .5rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
td { white-space: nowrap; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 13rem; }
th { overflow-wrap: normal; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
thead th { vertical-align: bottom; position: sticky; top: 0; background: var(--panel); padding: 0; }
th button { all: unset; box-sizing: border-box; cursor: pointer; width: 100%; padding: .4rem .5rem; font-weight: 600;
  line-height: 1.25; }
th.n button { text-align: right; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.facts td:first-child { white-space: nowrap; color: var(--muted); width: 1%; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
.tone { font-weight: 600; } .tone.pass { color: var(--good); }
.tone.fail { color: var(--bad); } .tone.inconclusive { color: var(--unsure); }
pre { background: var(--panel); padding: .7rem 1rem; border-radius: .4rem; overflow-x: auto; font-size: .875rem;
  white-space: pre-wrap; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
th button:focus-visible { outline-offset: -3px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--back); padding: .3rem .6rem; z-index: 2; }
.failed { color: var(--bad); font-size: .9rem; }
#vg-tooltip-element.vg-tooltip { background: var(--panel); color: var(--text); border-color: var(--line);
  max-width: 30rem; overflow-wrap: anywhere; }
#vg-tooltip-element.vg-tooltip td.key { color: var(--muted); }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav, .skip, .table label, output { display: none; }
  .scroll { max-height: none; overflow: visible; border: 0; }
  thead th { position: static; } thead { display: table-header-group; }
  table { font-size: 8pt; } th, td { padding: .15rem .3rem; }
  td, td.n, td.long { white-space: normal; overflow-wrap: anywhere; min-width: 0; } th button { padding: 0; }
  tr, figure, .tiles div, .verdict { break-inside: avoid; } h2, h3, .lead { break-after: avoid; }
  * { print-color-adjust: exact; }
}
"""

SCRIPT = """
const number = key => {
  const found = Number(key.replace('inf', 'Infinity'));
  return key === '' || Number.isNaN(found) ? null : found;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  return x !== null && y !== null ? x - y : a.localeCompare(b);
};
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0], heads = [...table.querySelectorAll('th')];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const first = head.classList.contains('n') ? 'descending' : 'ascending';
    const other = first === 'ascending' ? 'descending' : 'ascending';
    const order = head.getAttribute('aria-sort') === first ? other : first;
    heads.forEach(each => each.setAttribute('aria-sort', each === head ? order : 'none'));
    const sign = order === 'ascending' ? 1 : -1;
    const key = row => row.cells[column].dataset.key ?? row.cells[column].textContent.toLowerCase();
    const empty = row => row.cells[column].textContent.trim() === '';
    body.append(...[...body.rows].sort((a, b) => empty(a) - empty(b) || sign * compare(key(a), key(b))));
  }));
  const box = table.closest('.table'), input = box.querySelector('input'), said = box.querySelector('output');
  if (input) input.addEventListener('input', () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      shown += !row.hidden;
    }
    said.textContent = words.length ? `${shown} of ${body.rows.length} rows` : '';
  });
}
const drawn = [...document.querySelectorAll('figure')].map(async figure => {
  const place = figure.querySelector('.chart');
  try {
    const spec = JSON.parse(figure.querySelector('script').textContent);
    await window.vegaEmbed(place, spec, { actions: false, renderer: 'svg' });
  } catch (error) {
    console.error(error);
    place.innerHTML = '<p class="failed">This chart could not be drawn; its figures are in the tables.</p>';
  }
});
await Promise.all(drawn);
document.documentElement.dataset.ready = 'yes';
"""
