use std::io::{self, BufWriter, Write};

use crate::compress::Codec;
use crate::content::{self, Ingester};
use crate::digest::Algorithm;

use super::{LayerWriter, WrittenLayer};

/// How much is collected before it is written, in bytes.
const BUFFER: usize = 1 << 20;

/// Writes what `write` gives into `store`, compressed by `codec`. The blob has no name before its
/// digest is known.
///
/// # Errors
///
/// Those of `write`; what the store answers.
pub fn write_blob<E: From<content::Error>>(
    store: &dyn Ingester,
    codec: Codec,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<WrittenLayer, E> {
    let failed = |e: io::Error| E::from(content::Error::io(store.name())(e));
    let blob = store.create(Algorithm::Sha256)?;
    let out = BufWriter::with_capacity(BUFFER, blob);
    let mut writer = LayerWriter::new(out, codec).map_err(failed)?;
    write(&mut writer)?;
    let (out, written) = writer.finish().map_err(failed)?;
    let blob = out.into_inner().map_err(|e| failed(e.into_error()))?;
    blob.commit(written.size, &written.digest)?;
    Ok(written)
}
