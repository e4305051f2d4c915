"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const ALWAYS_SHOWN = ["s_measure", "max_f", "max_e", "mae"];
const measureIndex = new Map(data.measures.map((measure, i) => [measure.key, i]));

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function number(value) {
  return value === null ? "–" : value.toFixed(3).replace(/^(-?)0\./, "$1.");
}

function nameOf(image) {
  return `${image.set}/${image.stem}`;
}

// The pictures of an image, in the order of the tabs of the zoom.
function viewsOf(image) {
  const views = [
    { key: "rgb", label: "colour", picture: image.rgb },
    { key: "depth", label: image.map_label, picture: image.depth },
    { key: "gt", label: "ground truth", picture: image.gt },
  ].filter((view) => view.picture);
  image.maps.forEach((map, m) => {
    const method = data.methods[m];
    views.push({ key: `map${m}`, label: method, picture: map.map, note: map.note });
    if (map.error) views.push({ key: `error${m}`, label: `${method}: errors`, picture: map.error });
  });
  return views;
}

// ---- the list -------------------------------------------------------------------------------

function tile(card, key, label, picture, note) {
  const extra = key.startsWith("error") ? "error" : "";
  if (!picture) return make("div", { className: `absent ${extra}` }, note || "missing");
  const image = make("img", {
    loading: "lazy",
    decoding: "async",
    width: picture.thumb[1],
    height: picture.thumb[0],
    alt: `${label} of ${nameOf(card.image)}`,
    src: `thumbs/${picture.name}.webp`,
  });
  const button = make("button", { type: "button", className: extra, tabIndex: -1 }, image);
  button.addEventListener("click", () => openZoom(card, key));
  return button;
}

function column(card, caption, ...keys) {
  const views = viewsOf(card.image);
  const tiles = keys.map((key) => {
    const view = views.find((candidate) => candidate.key === key);
    return view ? tile(card, key, view.label, view.picture, view.note) : null;
  });
  if (tiles.every((one) => one === null)) return null;
  return make("figure", { className: "column" }, ...tiles, caption);
}

function buildCard(image, index) {
  const card = { image, index, captions: [] };
  const facts = [];
  if (image.disagreement !== null) facts.push(`disagreement ${number(image.disagreement)}`);
  if (image.spread !== null) facts.push(`spread of S ${number(image.spread)}`);
  const heading = make("h2", { id: `image-${index}` }, nameOf(image));
  heading.append(make("small", {}, facts.join(" · ")));
  const inputs = [image.rgb && "colour", image.depth && image.map_name].filter(Boolean).join(", ");
  const tiles = make("div", { className: "tiles" });
  const columns = [
    column(card, make("figcaption", {}, inputs), "rgb", "depth"),
    column(card, make("figcaption", {}, "ground truth"), "gt"),
  ];
  image.maps.forEach((map, m) => {
    const scores = make("span", { className: "scores" });
    const caption = make("figcaption", {}, make("b", {}, data.methods[m]), scores);
    if (map.map && map.note) caption.append(make("span", { className: "note" }, ` ${map.note}`));
    card.captions.push(scores);
    columns.push(column(card, caption, `map${m}`, `error${m}`));
  });
  tiles.append(...columns.filter((one) => one !== null));
  card.element = make("article", { tabIndex: -1 }, heading, tiles);
  card.element.setAttribute("aria-labelledby", heading.id);
  card.element.addEventListener("focusin", () => setCurrent(card));
  return card;
}

// ---- order and choice -----------------------------------------------------------------------

const cards = data.images.map(buildCard);
let shown = cards;
let current = null;
let writtenFor = null; // the sort order whose scores the captions show

function option(value, label) {
  return make("option", { value }, label);
}

function fillControls() {
  const several = data.methods.length > 1;
  const has = (test) => data.images.some(test);
  byId("sort").append(option("name", "name"));
  if (has((image) => image.disagreement !== null)) {
    byId("sort").append(option("disagreement", "disagreement of maps"));
  }
  if (has((image) => image.spread !== null)) byId("sort").append(option("spread", "spread of S"));
  if (has((image) => image.maps.some((map) => map.scores))) {
    for (const { key, title, larger } of data.measures) {
      byId("sort").append(option(key, `${title} ${larger ? "↑" : "↓"}`));
    }
  }
  if (several) byId("of").append(option("mean", "mean of methods"));
  data.methods.forEach((method, m) => byId("of").append(option(String(m), method)));
  byId("set").append(option("", "all"));
  data.sets.forEach((name, s) => byId("set").append(option(String(s), name)));
}

// The value to sort by; null is last in both directions.
function valueOf(image, sort, of) {
  if (sort === "disagreement" || sort === "spread") return image[sort];
  const scores = image.maps.map((map) => (map.scores ? map.scores[measureIndex.get(sort)] : null));
  if (of !== "mean") return scores[Number(of)];
  if (scores.includes(null)) return null;
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
}

// Initial direction: names from A to Z; the worst scores or the largest differences first.
function descends(sort) {
  if (sort === "name") return false;
  const measure = data.measures[measureIndex.get(sort)];
  return measure ? !measure.larger : true;
}

function update() {
  const sort = byId("sort").value;
  const of = byId("of").value;
  const setName = byId("set").value === "" ? null : data.sets[Number(byId("set").value)];
  const text = byId("text").value.trim().toLowerCase();
  const reversed = byId("reverse").getAttribute("aria-pressed") === "true";
  const sign = descends(sort) === reversed ? 1 : -1;
  const value = new Map(
    cards.map((card) => [card, sort === "name" ? card.index : valueOf(card.image, sort, of)]),
  );
  const ordered = [...cards].sort((a, b) => {
    const [first, second] = [value.get(a), value.get(b)];
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (first - second) || a.index - b.index;
  });
  shown = ordered.filter(
    ({ image }) =>
      (setName === null || image.set === setName) && nameOf(image).toLowerCase().includes(text),
  );
  byId("of-label").hidden = !measureIndex.has(sort) || data.methods.length < 2;
  byId("cards").replaceChildren(...shown.map((card) => card.element));
  byId("none").hidden = shown.length > 0;
  const some = shown.length === cards.length ? "" : `${shown.length} of `;
  byId("count").textContent = `${some}${cards.length} image${cards.length === 1 ? "" : "s"}`;
  if (sort !== writtenFor) {
    for (const card of cards) writeScores(card, sort);
    writtenFor = sort;
  }
  if (!shown.includes(current)) setCurrent(shown[0] ?? null);
  remember();
}

function writeScores(card, sort) {
  const keys = ALWAYS_SHOWN.includes(sort) || !measureIndex.has(sort)
    ? ALWAYS_SHOWN
    : [...ALWAYS_SHOWN, sort];
  card.captions.forEach((element, m) => {
    const scores = card.image.maps[m].scores;
    if (!scores) return;
    const parts = keys.map((key) => {
      const i = measureIndex.get(key);
      const text = `${data.measures[i].title} ${number(scores[i])} `;
      return make("span", { className: key === sort ? "by" : "" }, text);
    });
    element.replaceChildren(...parts);
    element.title = allScores(scores);
  });
}

function allScores(scores) {
  return data.measures.map(({ title }, i) => `${title} ${number(scores[i])}`).join("   ");
}

// The address stores the choice, so that reloading keeps it.
const CHOICES = ["sort", "of", "set", "text"];

function remember() {
  const state = new URLSearchParams();
  for (const id of CHOICES) if (byId(id).value) state.set(id, byId(id).value);
  if (byId("reverse").getAttribute("aria-pressed") === "true") state.set("reverse", "1");
  try {
    history.replaceState(null, "", `#${state}`);
  } catch {
    // Some browsers refuse replaceState for files or frequent calls; only reloading needs the call.
  }
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const id of CHOICES) {
    const element = byId(id);
    const wanted = state.get(id);
    if (wanted === null) continue;
    const known = !element.options || [...element.options].some(({ value }) => value === wanted);
    if (known) element.value = wanted;
  }
  byId("reverse").setAttribute("aria-pressed", String(state.get("reverse") === "1"));
}

// ---- missing maps ---------------------------------------------------------------------------

function listMissing() {
  const lines = [];
  for (const image of data.images) {
    image.maps.forEach((map, m) => {
      if (!map.map) lines.push(`${nameOf(image)}: ${data.methods[m]}: ${map.note}`);
    });
    lines.push(...image.problems);
  }
  byId("missing").hidden = lines.length === 0;
  byId("missing").querySelector("summary").textContent = `Missing or unreadable: ${lines.length}`;
  byId("missing").querySelector("ul").append(...lines.map((line) => make("li", {}, line)));
}

// ---- start ------------------------------------------------------------------------------------

function start() {
  fillControls();
  recall();
  listMissing();
  for (const id of ["sort", "of", "set"]) byId(id).addEventListener("change", update);
  byId("text").addEventListener("input", update);
  byId("reverse").addEventListener("click", reverse);
  byId("errors").addEventListener("change", showErrors);
  byId("size").addEventListener("input", ({ target }) => {
    document.documentElement.style.setProperty("--tile", `${target.value}px`);
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("zoom").addEventListener("close", () => {
    const { card } = zoom;
    zoom.card = null;
    moveTo(card);
  });
  byId("zoom-close").addEventListener("click", () => byId("zoom").close());
  byId("zoom-full").addEventListener("click", toggleFull);
  byId("zoom-picture").addEventListener("click", toggleFull);
  document.addEventListener("keydown", onKey);
  new ResizeObserver(([entry]) => {
    const height = getComputedStyle(entry.target).position === "sticky" ? entry.target.offsetHeight : 0;
    document.documentElement.style.setProperty("--header", `${height + 8}px`);
  }).observe(document.querySelector("header"));
  update();
}
