//! What was found in an index, and why rows were left out.

use serde::{Deserialize, Serialize};

/// Rejected rows and conflicts named in a report; more are only counted.
pub(super) const NAMED: usize = 100;

/// What is wrong with a row, as kinds that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowFault {
    /// A value that every row must have is null, empty or no text.
    NoValue,
    /// `product_id` is no product name.
    ProductName,
    /// Nothing in the row names a raster of the layout.
    NoRaster,
    /// Columns of the row contradict each other.
    Contradiction,
}

/// [`RowFault`] in words.
pub(super) type Fault = (RowFault, String);

/// Rows that were left out for reasons of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RejectedKind {
    /// What is wrong with them.
    pub fault: RowFault,
    /// How many there are.
    pub rows: u64,
    /// The first of them.
    pub first: RejectedRow,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RejectedRow {
    /// The index file.
    pub file: String,
    /// Number of the row in it, from 1.
    pub row: u64,
    /// Why.
    pub reason: String,
}

/// Rows of one raster that contradict each other; none of them is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflict {
    /// Product name.
    pub product: String,
    /// Raster name.
    pub raster: String,
    /// In what they differ.
    pub reason: String,
}

/// What was found in the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IndexReadReport {
    /// Files read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rows of other products, levels or tiles.
    pub other_products: u64,
    /// Rows given back.
    pub taken: u64,
    /// Rows equal to one already taken.
    pub duplicates: u64,
    /// Rows that could not be understood.
    pub rejected: u64,
    /// The same by kind, each with the first row of its kind.
    pub rejected_by_kind: Vec<RejectedKind>,
    /// The first hundred of them.
    pub rejected_rows: Vec<RejectedRow>,
    /// Rows left out because they contradict each other.
    pub conflicting: u64,
    /// The first hundred rasters concerned.
    pub conflicts: Vec<Conflict>,
}

impl IndexReadReport {
    /// Notes a row of one file that was left out; rows may come in any order.
    pub(super) fn reject(&mut self, file: &str, row: u64, (fault, reason): Fault) {
        self.rejected += 1;
        let row = RejectedRow { file: file.to_owned(), row, reason };
        match self.rejected_by_kind.iter_mut().find(|kind| kind.fault == fault) {
            Some(kind) => {
                kind.rows += 1;
                if row.row < kind.first.row {
                    kind.first = row.clone();
                }
            }
            None => self.rejected_by_kind.push(RejectedKind { fault, rows: 1, first: row.clone() }),
        }
        if self.rejected_rows.len() < NAMED {
            self.rejected_rows.push(row);
        }
    }

    /// Adds what was left out of a further file, its rows in their order.
    pub(super) fn add_rejected(&mut self, other: &Self) {
        self.rejected += other.rejected;
        for kind in &other.rejected_by_kind {
            match self.rejected_by_kind.iter_mut().find(|mine| mine.fault == kind.fault) {
                Some(mine) => mine.rows += kind.rows,
                None => self.rejected_by_kind.push(kind.clone()),
            }
        }
        self.rejected_by_kind.sort_by_key(|kind| kind.fault);
        let mut rows = other.rejected_rows.clone();
        rows.sort_by_key(|rejected| rejected.row);
        let room = NAMED.saturating_sub(self.rejected_rows.len());
        self.rejected_rows.extend(rows.into_iter().take(room));
    }

    /// Why no row could be used, in a sentence that begins with the index; `wanted` says which rows were looked for, such
    /// as `tile 29UNU at level L2A`. `None` where some rows could.
    #[must_use]
    pub fn why_nothing(&self, wanted: &str) -> Option<String> {
        if self.taken > 0 {
            return None;
        }
        let rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
        let mut reasons = Vec::new();
        if self.other_products > 0 {
            reasons.push(format!("{} of others", rows(self.other_products)));
        }
        for RejectedKind { rows: count, first, .. } in &self.rejected_by_kind {
            let RejectedRow { file, row, reason } = first;
            let such = if *count == 1 { String::new() } else { format!(", the first of {}", rows(*count)) };
            reasons.push(format!("row {row} of {file}{such} was refused: {reason}"));
        }
        if let Some(Conflict { product, raster, reason }) = self.conflicts.first() {
            let rows = rows(self.conflicting);
            reasons.push(format!("{rows} contradict each other, such as those of {raster} of {product}: {reason}"));
        }
        Some(match (&reasons[..], self.rows) {
            ([], _) => "the index has no rows at all".to_owned(),
            (_, all) if all == self.other_products => {
                format!(
                    "the index has no rows of {wanted}, but {} of others: name an index of this tile and level",
                    rows(all)
                )
            }
            (reasons, all) => {
                format!(
                    "the index has no row of {wanted} that can be used ({} in all): {}",
                    rows(all),
                    reasons.join("; ")
                )
            }
        })
    }
}
