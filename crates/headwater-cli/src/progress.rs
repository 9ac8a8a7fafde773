//! Shows a running update: bars on a terminal, lines elsewhere, events as JSON lines with `--json`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_connect::{Clock, SystemClock};
use headwater_engine::{FlowError, FlowId, FlowMetrics, FlowStatus, Observer, UpdateState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fail::{causes, chain};
use crate::output::{Out, Style, bytes_text, count_text};

/// An observer that shows what it hears.
pub(crate) struct Progress {
    out: Out,
    bars: Option<Bars>,
    flows: Mutex<HashMap<FlowId, Flow>>,
}

struct Bars {
    multi: MultiProgress,
    total: ProgressBar,
}

struct Flow {
    bar: Option<ProgressBar>,
    metrics: FlowMetrics,
    started_at: Instant,
    shown_at: Option<Instant>,
}

/// The least time between two lines about one flow.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The least time between two events about one flow.
const EVENT_EVERY: Duration = Duration::from_millis(500);

impl Progress {
    /// Shows an update in the way that the terminal and the user's options ask for.
    pub(crate) fn new(out: &Out) -> Self {
        let bars = out.draws_bars().then(|| {
            let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let total =
                multi.add(ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {wide_msg}")));
            total.set_prefix(out.style(Style::Bold, "total"));
            total.enable_steady_tick(Duration::from_millis(120));
            out.set_bars(Some(multi.clone()));
            Bars { multi, total }
        });
        Self { out: out.clone(), bars, flows: Mutex::default() }
    }

    /// Takes the bars away; what is printed next stands where they stood.
    pub(crate) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            for flow in self.flows.lock().unwrap_or_else(PoisonError::into_inner).values() {
                if let Some(bar) = &flow.bar {
                    bar.finish_and_clear();
                }
            }
            self.out.set_bars(None);
        }
    }

    fn event(&self, name: &str, flow: Option<&FlowId>, fields: Value) {
        let mut event = json!({"event": name, "at": SystemClock.now().to_rfc3339()});
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            if let Some(flow) = flow {
                event.insert("table".into(), json!(flow.source_table));
                event.insert("destination".into(), json!(flow.destination));
            }
            event.extend(fields);
        }
        // The update goes on when nobody reads its events any more.
        drop(self.out.json_line(&event));
    }

    fn say(&self, text: &str) {
        if self.bars.is_none() {
            self.out.say(text);
        }
    }

    fn with_flow(&self, id: &FlowId, change: impl FnOnce(&mut Flow)) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flow) = flows.get_mut(id) {
            change(flow);
        }
    }

    fn show_total(&self) {
        let Some(bars) = &self.bars else { return };
        let flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: fn(&FlowMetrics) -> u64| flows.values().map(|f| of(&f.metrics)).sum::<u64>();
        let text = format!(
            "{} records read, {}, {} rows committed",
            count_text(sum(|m| m.records_read)),
            bytes_text(sum(|m| m.bytes_read)),
            count_text(sum(|m| m.rows_written)),
        );
        bars.total.set_message(text);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn metrics_text(metrics: &FlowMetrics, elapsed: Duration) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people"
    )]
    let rate = (metrics.records_read as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    format!(
        "{} records, {}, {} rows committed, {}/s",
        count_text(metrics.records_read),
        bytes_text(metrics.bytes_read),
        count_text(metrics.rows_written),
        count_text(rate),
    )
}

/// Warns of something before the update begins: as one of its events with `--json`.
pub(crate) fn warn_before(out: &Out, message: &str) {
    if out.is_json() {
        Progress::new(out).event("warning", None, json!({"message": message}));
    } else {
        out.warn(message);
    }
}

impl Observer for Progress {
    fn update_state(&self, state: UpdateState) {
        if self.out.is_json() {
            self.event("update_state", None, json!({"state": state}));
        }
    }

    fn flow_added(&self, id: &FlowId) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = ProgressBar::new_spinner().with_style(style("{spinner} {prefix} {wide_msg}"));
            let bar = bars.multi.insert_before(&bars.total, bar);
            bar.set_prefix(id.source_table.to_string());
            bar.set_message(self.out.style(Style::Dim, "waiting"));
            bar
        });
        let flow = Flow { bar, metrics: FlowMetrics::default(), started_at: Instant::now(), shown_at: None };
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), flow);
    }

    fn flow_status(&self, id: &FlowId, status: FlowStatus) {
        if self.out.is_json() {
            self.event("flow_status", Some(id), json!({"status": status}));
            return;
        }
        let mut done = None;
        self.with_flow(id, |flow| {
            let elapsed = flow.started_at.elapsed();
            match status {
                FlowStatus::Starting | FlowStatus::Running => {
                    if status == FlowStatus::Starting {
                        flow.started_at = Instant::now();
                    }
                    if let Some(bar) = &flow.bar {
                        bar.enable_steady_tick(Duration::from_millis(120));
                    }
                }
                FlowStatus::Completed | FlowStatus::Failed | FlowStatus::Stopped => {
                    let (word, color) = match status {
                        FlowStatus::Completed => ("done", Style::Green),
                        FlowStatus::Failed => ("failed", Style::Red),
                        _ => ("stopped", Style::Yellow),
                    };
                    let text =
                        format!("{}, {}", self.out.style(color, word), metrics_text(&flow.metrics, elapsed));
                    if let Some(bar) = &flow.bar {
                        bar.finish_with_message(text.clone());
                    }
                    done = Some(text);
                }
                FlowStatus::Queued => {}
            }
        });
        match (status, done) {
            (FlowStatus::Running, _) => self.say(&format!("{}: reading", id.source_table)),
            (_, Some(text)) => self.say(&format!("{}: {text}", id.source_table)),
            _ => {}
        }
    }

    fn flow_progress(&self, id: &FlowId, metrics: &FlowMetrics) {
        let now = Instant::now();
        let pause = if self.out.is_json() { EVENT_EVERY } else { LINE_EVERY };
        let mut due = None;
        self.with_flow(id, |flow| {
            flow.metrics = *metrics;
            let text = metrics_text(metrics, now - flow.started_at);
            if let Some(bar) = &flow.bar {
                bar.set_message(text);
            } else if now - flow.shown_at.unwrap_or(flow.started_at) >= pause {
                flow.shown_at = Some(now);
                due = Some(text);
            }
        });
        self.show_total();
        if let Some(text) = due {
            if self.out.is_json() {
                self.event("flow_progress", Some(id), json!({"metrics": metrics}));
            } else {
                self.say(&format!("{}: {text}", id.source_table));
            }
        }
    }

    fn flow_retry(&self, id: &FlowId, error: &FlowError, attempt: u32, pause: Duration) {
        let secs = (pause.as_secs_f64() * 10.0).round() / 10.0;
        if self.out.is_json() {
            let fields = json!({"attempt": attempt, "pause_secs": secs, "error": error.to_string(), "causes": causes(error)});
            self.event("flow_retry", Some(id), fields);
        } else {
            let why = chain(error).join(": ");
            self.out.warn(&format!("{}: {why}; attempt {attempt} in {secs} s", id.source_table));
        }
    }

    fn warning(&self, flow: Option<&FlowId>, message: &str) {
        if self.out.is_json() {
            self.event("warning", flow, json!({"message": message}));
        } else {
            match flow {
                Some(flow) => self.out.warn(&format!("{}: {message}", flow.source_table)),
                None => self.out.warn(message),
            }
        }
    }
}
