use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress bars on standard error, one a layer; nothing where that is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    /// Bars where `wanted` and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let target = if wanted && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { bars: MultiProgress::with_draw_target(target) }
    }

    /// A bar of `total` bytes with `label` in front.
    pub(crate) fn bar(&self, label: String, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{prefix:20} {bar:32} {bytes:>10} of {total_bytes:<10} {bytes_per_sec}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.bars.add(ProgressBar::new(total).with_style(style).with_prefix(label));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}
