// How each strategy's model was judged, and when it learns again.

import { Act, Badge, Bars, Figure, Panel, Reliability, Shown, Table, html, useData } from "../parts.js";
import { order } from "../api.js";
import { DASH, moment, number, percent, signed, spoken, whole, words } from "../format.js";

export function View({ session }) {
  const held = useData("/models", {}, { events: ["trade"], everyS: 20 });
  return html`<${Shown} of=${held} when=${(data) => !Object.keys(data.strategies).length} empty="No strategy is in use: switch one on in config.yaml, under strategies.">
    ${(data) => html`<div class="stack">
      ${Object.entries(data.strategies).map(([name, state]) => html`<${Strategy} key=${name} name=${name} state=${state} judging=${data.judging} session=${session} />`)}
      <${Runs} /></div>`}</${Shown}>`;
}

function Strategy({ name, state, judging, session }) {
  const last = state.last_result;
  const fold = last && last.folds.length ? last.folds[last.folds.length - 1] : null;
  const ready = state.is_ml_ready;
  const badge = state.training ? html`<${Badge} tone="warn">training now</${Badge}>` : ready ? html`<${Badge} tone="good">model in use</${Badge}>` : html`<${Badge}>judged by the rule</${Badge}>`;
  const have = state.completed;
  return html`<${Panel} title=${words(name)} wide aside=${badge}>
    <p class="verdict">${verdict(state.worth)}</p>
    <dl class="figures">
      <${Figure} name="Lessons" value=${whole(have)} note=${`${state.executed} taken, ${state.phantom} phantoms`} />
      <${Figure} name="Next training" value=${state.trades_until_next_retrain ? `after ${state.trades_until_next_retrain} more` : "due now"} />
      <${Figure} name="Threshold" value=${!judging.enabled ? "off" : ready ? `gain over ${number(judging.margin_r)} R` : `${whole(judging.rule_floor)} points`} />
      ${fold && html`<${Figure} name="Log loss" value=${number(fold.log_loss, 4)} note=${`base rate ${number(fold.base_log_loss, 4)}`} />
        <${Figure} name="Brier" value=${number(fold.brier, 4)} note=${`base rate ${number(fold.base_brier, 4)}`} />
        <${Figure} name="AUC" value=${number(fold.auc, 3)} note=${`${fold.tried_on} unseen signals`} />`}
    </dl>
    <progress max=${have + state.trades_until_next_retrain || 1} value=${have} aria-label=${`Lessons until the next training of ${name}`}></progress>
    ${last && html`<p>Last run, ${moment(last.trained_at)}: <strong>${spoken(last.verdict, ready)}</strong>, ${last.reason}</p>`}
    <div class="thirds">
      <div><h3>Reliability</h3><${Reliability} groups=${(last && last.calibration && last.calibration.groups) || []} /></div>
      <div><h3>Mean R by score, lowest tenth first</h3>
        <${Bars} rows=${state.deciles.map((one) => ({ name: `${whole(one.from)} to ${whole(one.to)}`, value: one.mean_r, note: `${percent(one.win_rate, 0)} won of ${one.signals}` }))}
          label=${`Mean R by score of ${name}`} unit=" R" empty="No scored signal has ended yet." /></div>
      <div><h3>What matters</h3>
        <${Bars} rows=${last ? Object.entries(last.importance).map(([feature, value]) => ({ name: words(feature), value })) : []} label=${`Importance of features of ${name}`} digits=${4} empty="No model has been trained yet." /></div>
    </div>
    ${session.signed_in && session.running && html`<div class="row end"><${Act} name="Train" title=${`Train ${words(name)}`} what="It is trained now, in another process; a model is put to use only when it is better than the one in use."
      act=${() => order("/train", { strategy: name }).then((told) => { const done = told[name].last_result; return done ? `${spoken(done.verdict, told[name].is_ml_ready)}: ${done.reason}` : "It has been tried."; })} disabled=${state.training} /></div>`}
  </${Panel}>`;
}

// what the score is worth, in a sentence: nothing is claimed that chance could have made
function verdict(worth) {
  if (!worth.signals) return "Nothing can be said of the score yet: no scored signal has ended.";
  const by = worth.scored_by === "rule" ? "The rule" : "The model";
  if (worth.value === null) return `${by} ranks nothing: all ${whole(worth.signals)} signals that ended have the same.`;
  const made = `the better scored half of ${whole(worth.signals)} signals made ${signed(worth.value)} R a signal beside the other half`;
  if (worth.low === null) return `Too short to say what the score is worth: ${made}, but all within ${worth.days} ${worth.days === 1 ? "day" : "days"}; an interval takes eight.`;
  const range = `(95 %: ${signed(worth.low)} to ${signed(worth.high)}, ${worth.days} days)`;
  return worth.low > 0 ? `The score ranks signals: ${made} ${range}.` : worth.high < 0 ? `The score ranks signals the wrong way round: ${made} ${range}.` : `The score is not shown to be worth anything: ${made} ${range}, which chance could have made.`;
}

function Runs() {
  const held = useData("/models/runs", {}, { everyS: 30 });
  const columns = [
    { name: "Time", of: (one) => moment(one.trained_at) },
    { name: "Strategy", of: (one) => words(one.strategy) },
    { name: "Verdict", of: (one) => html`<${Badge} tone=${{ promoted: "good", failed: "bad", demoted: "warn" }[one.verdict]}>${one.verdict}</${Badge}>` },
    { name: "Lessons", right: true, of: (one) => whole(one.lessons) },
    { name: "Took", right: true, of: (one) => `${number(one.seconds, 1)} s` },
    { name: "Log loss", right: true, of: (one) => { const folds = one.report.folds || []; return folds.length ? number(folds[folds.length - 1].log_loss, 4) : DASH; } },
    { name: "Why", full: true, of: (one) => one.reason },
  ];
  return html`<${Panel} title="Training runs" wide><${Shown} of=${held} empty="No model has been trained yet: about thirty trades, or a hundred phantoms, are needed.">
    ${(rows) => html`<${Table} columns=${columns} rows=${rows} label="Training runs" keyOf=${(one) => one.run_id} />`}</${Shown}></${Panel}>`;
}
