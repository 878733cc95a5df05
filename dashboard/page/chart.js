// Candles with what was done on them, the crosshair's legend above, buttons below.

import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { Picture } from "./candles.js";
import { moment, price } from "./format.js";

// data: as /chart answers; ``went.at`` is a moment to move to, ``found`` is told of marks further back
export function Candles({ data, phantoms, strategy, went, found }) {
  const box = useRef(null);
  const picture = useRef(null);
  const [drawn, setDrawn] = useState(false);
  const [legend, setLegend] = useState([]);
  const [range, setRange] = useState(null);
  useEffect(() => {
    let gone = false;
    import("./vendor/lightweight-charts.js").then((charts) => {
      if (gone) return;
      picture.current = new Picture(charts, box.current, data, setLegend, setRange);
      box.current.dataset.ready = "1";
      setDrawn(true);
    });
    return () => {
      gone = true;
      if (picture.current) picture.current.end();
      picture.current = null;
    };
  }, []);
  useEffect(() => {
    if (!picture.current) return;
    picture.current.found = found;
    picture.current.show(data, phantoms);
  }, [drawn, data, phantoms]);
  useEffect(() => {
    if (picture.current) picture.current.columns(strategy);
  }, [drawn, strategy]);
  useEffect(() => {
    if (!picture.current || !went.at) return;
    picture.current.go(went.at);
    box.current.scrollIntoView({ block: "nearest" });
  }, [drawn, went]);
  const last = data.bars[data.bars.length - 1];
  const move = (bars) => () => picture.current && picture.current.move(bars);
  const zoom = (times) => () => picture.current && picture.current.zoom(times);
  return html`<p class="legend" aria-hidden="true">${legend.map(([name, value]) => html`<span>${name && html`<i>${name}</i> `}${value}</span>`)}</p>
    <div class="chart" ref=${box} role="img" aria-label=${`Candles from ${moment(data.bars[0].time)} to ${moment(last.time)}, last close ${price(last.close)}. What was done is listed below.`}></div>
    <div class="row wrap end"><span class="quiet">${range && `${moment(1000 * range[0])} to ${moment(1000 * range[1])}`}</span><span class="space"></span><button type="button" onClick=${zoom(0.5)}>Zoom in</button><button type="button" onClick=${zoom(2)}>Zoom out</button><button type="button" onClick=${move(-50)}>← Earlier</button><button type="button" onClick=${move(50)}>Later →</button><button type="button" onClick=${move(Infinity)}>Newest</button></div>`;
}
