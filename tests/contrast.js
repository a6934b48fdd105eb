/* WCAG 2.2 contrast of every text that the page shows: [ratio, element, text] each. */
() => {
  const channel = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (color) => color.slice(0, 3).map((value) => channel(value / 255))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => below.map((value, i) => i < 3 ? top[i] * top[3] + value * (1 - top[3]) : 1);
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.unshift(rgba(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || element.value;
    if (!own || !element.checkVisibility({ opacityProperty: true }) || element.matches("script, style, noscript, option")) continue;
    const base = ground(element), ink = over(rgba(getComputedStyle(element).color), base);
    const [high, low] = [light(ink), light(base)].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), element.id || element.className || element.tagName, element.innerText || ""]);
  }
  return found;
}
