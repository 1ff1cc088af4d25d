// Before the first paint, so that a light page never flashes dark.
document.documentElement.dataset.theme =
  localStorage.getItem("latens-theme") ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
