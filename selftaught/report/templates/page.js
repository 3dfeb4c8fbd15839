"use strict";

// Charts: plotly lies in the page compressed; colours are CSS variables, resolved at each drawing.

async function unpackPlotly() {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
}

function coloured(value) {
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, coloured(inner)]));
  const variable = typeof value === "string" && value.match(/^var\((--[a-z]+)\)$/);
  return variable ? getComputedStyle(document.documentElement).getPropertyValue(variable[1]).trim() : value;
}

function drawCharts() {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  for (const frame of document.querySelectorAll("[data-plot]")) {
    const { data, layout } = coloured(plots[frame.dataset.plot]);
    frame.querySelector(".undrawn")?.remove();
    Plotly.react(frame, data, layout, { displayModeBar: false, responsive: true });
  }
}

async function startCharts() {
  if (!document.querySelector("[data-plot]")) return;
  await unpackPlotly();
  drawCharts();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.printing = "";
    drawCharts();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.printing;
    drawCharts();
  });
}

// Tasks: filter by what changed, by set and by words.

function startFilter() {
  const form = document.getElementById("filter");
  if (!form) return;
  const tasks = [...document.querySelectorAll("#changes .task")];
  const texts = tasks.map((task) => task.textContent.toLowerCase());
  const matches = (task, text, wanted) =>
    (wanted.change === "all" || wanted.change === task.dataset.change) &&
    (wanted.split === "all" || wanted.split === task.dataset.split) &&
    wanted.words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  const filter = () => {
    const wanted = { split: "all", ...Object.fromEntries(new FormData(form)) };
    tasks.forEach((task, i) => (task.hidden = !matches(task, texts[i], wanted)));
    const shown = tasks.filter((task) => !task.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${tasks.length} listed`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

// Digests: a click copies all of it; where the browser forbids that, it is shown to be selected.

async function copyDigest(button) {
  const shown = button.firstElementChild;
  const short = shown.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    shown.textContent = "copied";
    setTimeout(() => (shown.textContent = short), 900);
  } catch {
    shown.textContent = button.dataset.copy;
    getSelection().selectAllChildren(shown);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.digest");
  if (button) copyDigest(button);
});
startFilter();
startCharts();
