// ---- the current image, and the zoom --------------------------------------------------------

function setCurrent(card) {
  if (current) current.element.tabIndex = -1;
  current = card;
  if (card) card.element.tabIndex = 0;
}

function moveTo(card) {
  if (!card) return;
  setCurrent(card);
  if (zoom.card) {
    openZoom(card, zoom.key);
  } else {
    card.element.focus({ preventScroll: true });
    card.element.scrollIntoView({ block: "nearest" });
  }
}

function step(by) {
  const at = shown.indexOf(current);
  moveTo(shown[Math.min(shown.length - 1, Math.max(0, at + by))]);
}

const zoom = { card: null, key: "map0" };

function openZoom(card, key) {
  zoom.card = card;
  zoom.key = key;
  setCurrent(card);
  const views = viewsOf(card.image);
  const view = views.find((candidate) => candidate.key === key) ?? { label: key, picture: null };
  const method = /\d+$/.exec(key);
  const map = method ? card.image.maps[Number(method[0])] : null;
  const place = `${shown.indexOf(card) + 1} of ${shown.length}`;
  byId("zoom-title").textContent = `${nameOf(card.image)} (${place}): ${view.label}`;
  byId("zoom-scores").textContent = map?.scores ? allScores(map.scores) : "";
  byId("zoom-tabs").replaceChildren(
    ...views.map((candidate) => {
      const button = make("button", { type: "button" }, candidate.label);
      button.setAttribute("aria-pressed", String(candidate.key === key));
      button.addEventListener("click", () => openZoom(card, candidate.key));
      return button;
    }),
  );
  const picture = byId("zoom-picture");
  picture.hidden = !view.picture;
  byId("zoom-none").hidden = Boolean(view.picture);
  if (view.picture) {
    picture.src = `full/${view.picture.full}`;
    picture.width = view.picture.size[1];
    picture.height = view.picture.size[0];
    picture.alt = `${view.label} of ${nameOf(card.image)}`;
  } else {
    picture.removeAttribute("src");
    byId("zoom-none").textContent = `${nameOf(card.image)}: ${view.note || "no such picture"}`;
  }
  if (!byId("zoom").open) byId("zoom").showModal();
  byId("zoom-view").focus({ preventScroll: true });
}

function stepView(by) {
  const keys = viewsOf(zoom.card.image).map((view) => view.key);
  const at = keys.indexOf(zoom.key);
  openZoom(zoom.card, keys[(at + by + keys.length) % keys.length]);
}

function toggleFull() {
  const full = byId("zoom-view").classList.toggle("full");
  byId("zoom-full").setAttribute("aria-pressed", String(full));
}

function toggleErrors() {
  if (zoom.card) {
    const other = zoom.key.replace(/^(map|error)/, (kind) => (kind === "map" ? "error" : "map"));
    openZoom(zoom.card, other);
  } else {
    byId("errors").checked = !byId("errors").checked;
    showErrors();
  }
}

function showErrors() {
  byId("cards").classList.toggle("no-errors", !byId("errors").checked);
}

function reverse() {
  const button = byId("reverse");
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  update();
}

// ---- keys -----------------------------------------------------------------------------------

const LIST_KEYS = {
  ArrowDown: () => step(1),
  ArrowRight: () => step(1),
  ArrowUp: () => step(-1),
  ArrowLeft: () => step(-1),
  Home: () => moveTo(shown[0]),
  End: () => moveTo(shown[shown.length - 1]),
  Enter: () => current && openZoom(current, zoom.key),
  "/": () => byId("text").focus(),
  r: reverse,
};
const ZOOM_KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  ArrowRight: () => stepView(1),
  ArrowLeft: () => stepView(-1),
  Home: () => moveTo(shown[0]),
  End: () => moveTo(shown[shown.length - 1]),
  Enter: toggleFull,
};
const SCROLL = { ArrowDown: [0, 80], ArrowUp: [0, -80], ArrowRight: [80, 0], ArrowLeft: [-80, 0] };
const PICTURE_KEYS = { 0: "gt", c: "rgb", d: "depth" };

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const { key, target } = event;
  if (target.matches("input, select") && !zoom.card) {
    if (key === "Escape") target.blur();
    return;
  }
  if (target.matches("button, summary") && (key === "Enter" || key === " ")) return;
  const actions = zoom.card ? ZOOM_KEYS : LIST_KEYS;
  if (zoom.card && event.shiftKey && SCROLL[key]) {
    byId("zoom-view").scrollBy(...SCROLL[key]);
  } else if (actions[key]) {
    actions[key]();
  } else if (key === "e") {
    toggleErrors();
  } else if (current && PICTURE_KEYS[key]) {
    openZoom(current, PICTURE_KEYS[key]);
  } else if (current && /^[1-9]$/.test(key) && Number(key) <= data.methods.length) {
    openZoom(current, `map${Number(key) - 1}`);
  } else {
    return;
  }
  event.preventDefault();
}
