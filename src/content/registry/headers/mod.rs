//! Headers of answers that say something about content or access, as pure functions of their text.

mod challenge;
mod content_range;
mod link;

pub use challenge::Challenge;
pub use content_range::ContentRange;
pub use link::next_page;
