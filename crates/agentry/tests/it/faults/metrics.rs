//! What the gateway has counted, by the model of each case.

pub(super) struct Metrics {
    lines: Vec<(String, f64)>,
}

impl Metrics {
    pub(super) fn of(response: &str) -> Self {
        let lines = response.lines().filter(|line| line.starts_with("llm_"));
        let parsed = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { lines: parsed.collect() }
    }

    pub(super) fn active(&self) -> u64 {
        self.sum("llm_active_requests", &[])
    }

    /// Tokens in and out.
    pub(super) fn billed(&self, model: &str) -> (u64, u64) {
        let tokens = |kind: &str| {
            self.sum(
                "llm_tokens_total",
                &[format!("model=\"{model}\""), format!("type=\"{kind}\"")],
            )
        };
        (tokens("input"), tokens("output"))
    }

    pub(super) fn succeeded(&self, model: &str) -> u64 {
        let labels = [format!("model=\"{model}\""), "status=\"success\"".to_owned()];
        self.sum("llm_requests_total", &labels)
    }

    pub(super) fn cancelled(&self, model: &str) -> u64 {
        let labels = [format!("model=\"{model}\""), "status=\"cancelled\"".to_owned()];
        self.sum("llm_requests_total", &labels)
    }

    fn sum(&self, metric: &str, labels: &[String]) -> u64 {
        let matching = self.lines.iter().filter(|(name, _)| {
            let (found, rest) = name.split_once('{').unwrap_or((name, ""));
            found == metric && labels.iter().all(|label| rest.contains(label.as_str()))
        });
        matching.map(|(_, value)| *value).sum::<f64>() as u64
    }
}
