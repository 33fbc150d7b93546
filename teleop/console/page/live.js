// Live pictures with their age. Each camera draws only its newest frame.
import { element } from "/link.js";

export class Cameras {
  constructor(link, place) {
    this.link = link;
    this.views = [];
    link.on("hello", (hello) => {
      this.views = hello.cameras.map((name) => {
        const figure = element("figure", "", "view"), canvas = element("canvas");
        figure.dataset.camera = name;
        figure.style.margin = 0;
        const age = element("span", "", "age");
        figure.append(canvas, element("figcaption", name.replace(/\.rgb$/, "")), age);
        return { name, figure, canvas, age, captured: null, busy: false, next: null };
      });
      place(this.views);
    });
    link.on("frame", (frame) => this.take(this.views[frame.index], frame));
    setInterval(() => this.ages(), 100);
  }

  async take(view, frame) {
    if (!view) return;
    view.next = frame;
    if (view.busy) return;
    view.busy = true;
    while (view.next) {
      const next = view.next;
      view.next = null;
      const picture = await createImageBitmap(next.jpeg).catch(() => null);
      if (!picture) continue;
      if (view.canvas.width !== picture.width) [view.canvas.width, view.canvas.height] = [picture.width, picture.height];
      view.canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      view.captured = next.captured;
    }
    view.busy = false;
  }

  ages() {
    for (const view of this.views) {
      if (view.captured === null) continue;
      const age = this.link.server() - view.captured;
      view.age.textContent = age < 10 ? `${Math.max(0, Math.round(1000 * age))} ms` : `${age.toFixed(0)} s`;
      view.age.classList.toggle("old", age > 0.5);
      view.figure.classList.toggle("cold", age > 2 && document.body.dataset.phase !== "review");
    }
  }
}
