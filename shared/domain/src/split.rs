//! Cutting something that is a list of rows into pieces of a limited size.

/// Value that can be cut in two that together are the whole, in order.
pub trait Split: Sized {
    /// The two halves, or the value itself if it is one piece.
    ///
    /// # Errors
    ///
    /// The value itself, unchanged, if it holds fewer than two rows.
    fn split(self) -> Result<(Self, Self), Self>;
}

impl<T> Split for Vec<T> {
    fn split(mut self) -> Result<(Self, Self), Self> {
        if self.len() < 2 {
            return Err(self);
        }
        let second = self.split_off(self.len() / 2);
        Ok((self, second))
    }
}

/// Cuts until every piece `fits` or cannot be cut further. The pieces are the whole, in order.
pub fn cut<T: Split>(whole: T, fits: &impl Fn(&T) -> bool) -> Vec<T> {
    let (mut pending, mut pieces) = (vec![whole], Vec::new());
    while let Some(next) = pending.pop() {
        if fits(&next) {
            pieces.push(next);
            continue;
        }
        match next.split() {
            Ok((first, second)) => pending.extend([second, first]),
            Err(piece) => pieces.push(piece),
        }
    }
    pieces
}
