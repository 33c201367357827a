//! What commands read: files, and standard input.

use std::io::Read as _;
use std::path::Path;

use crate::UsageError;

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// It cannot be read, which the exit code tells apart from every result.
pub(crate) fn read_text(file: &Path) -> Result<String, UsageError> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return match read {
            Ok(_) => Ok(text),
            Err(error) => Err(UsageError(format!("cannot read standard input: {error}"))),
        };
    }
    std::fs::read_to_string(file)
        .map_err(|error| UsageError(format!("cannot read {}: {error}", file.display())))
}
