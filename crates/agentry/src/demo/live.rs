//! What is seen while a round runs: a table that stays in place on a terminal, plain lines elsewhere.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use agentry_shop::ServiceStatus;
use agentry_shop::monitor::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::Terminal;

pub(super) struct Live {
    terminal: Terminal,
    screen: Option<Screen>,
    known: Mutex<u64>,
    phase: Mutex<String>,
}

struct Screen {
    all: MultiProgress,
    phase: ProgressBar,
    alerts: ProgressBar,
    services: Mutex<Vec<ProgressBar>>,
}

impl Live {
    pub(super) fn new(terminal: Terminal) -> Self {
        let screen = terminal.is_interactive().then(Screen::new);
        Self { terminal, screen, known: Mutex::new(0), phase: Mutex::default() }
    }

    /// What is going on now; said once.
    pub(super) fn phase(&self, text: &str) {
        let mut known = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == text {
            return;
        }
        text.clone_into(&mut known);
        match &self.screen {
            Some(screen) => screen.phase.set_message(text.to_owned()),
            None => self.terminal.note(text),
        }
    }

    /// Something that happened; it stays on the screen.
    pub(super) fn note(&self, text: &str) {
        match &self.screen {
            // Progress is a courtesy: a terminal that has gone away must not end the round.
            Some(screen) => drop(screen.all.println(format!("  · {text}"))),
            None => self.terminal.note(format_args!("· {text}")),
        }
    }

    pub(super) fn show(&self, services: &[ServiceStatus], monitor: &Status) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != monitor.firings {
            *known = monitor.firings;
            let names: Vec<String> = monitor
                .firing
                .iter()
                .map(|alert| format!("{} ({})", alert.name, alert.service))
                .collect();
            self.note(&format!("firing: {}", names.join(", ")));
        }
        if let Some(screen) = &self.screen {
            screen.show(services, monitor);
        }
    }

    /// Waits for a line from the keyboard.
    pub(super) async fn ask(&self, question: &str) -> String {
        if let Some(screen) = &self.screen {
            screen.all.set_draw_target(ProgressDrawTarget::hidden());
        }
        let answer = self.terminal.ask(question).await;
        if let Some(screen) = &self.screen {
            screen.all.set_draw_target(ProgressDrawTarget::stderr());
        }
        answer
    }

    pub(super) fn finish(&self) {
        if let Some(screen) = &self.screen {
            // As above.
            drop(screen.all.clear());
        }
    }
}

impl Screen {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let phase = all.add(ProgressBar::new_spinner());
        phase.enable_steady_tick(Duration::from_millis(120));
        let alerts = all.add(line());
        Self { all, phase, alerts, services: Mutex::new(Vec::new()) }
    }

    fn show(&self, services: &[ServiceStatus], monitor: &Status) {
        let mut lines = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        while lines.len() < services.len() {
            lines.push(self.all.add(line()));
        }
        for (line, service) in lines.iter().zip(services) {
            line.set_message(row(service));
        }
        self.alerts.set_message(match monitor.firing.len() {
            0 => "  no alert is firing".to_owned(),
            1 => "  1 alert is firing".to_owned(),
            many => format!("  {many} alerts are firing"),
        });
    }
}

fn line() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

fn row(service: &ServiceStatus) -> String {
    let alive = if service.alive { "up  " } else { "down" };
    format!(
        "  {:<10} {alive} {:>6.1} req/s {:>5.1} % errors {:>6.0} ms p95 {:>5.0} % cpu {:>5.0} MB  {}",
        service.name,
        service.requests_per_second,
        service.error_percent,
        service.p95_ms,
        service.cpu_percent,
        service.memory_bytes / 1e6,
        service.version,
    )
}
