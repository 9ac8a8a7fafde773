/// On which side the cells of a column are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table for people: columns as wide as their widest cell, two spaces between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    headers: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

/// A cell is cut to so many characters.
const WIDEST_CELL: usize = 60;

impl Table {
    /// Starts a table with these columns.
    pub(crate) fn new<N: Into<String>>(headers: impl IntoIterator<Item = (N, Align)>) -> Self {
        let headers = headers.into_iter().map(|(name, align)| (name.into(), align)).collect();
        Self { headers, rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty.
    pub(crate) fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(|c| printable(&c.into())).collect());
    }

    /// Lays the table out; each line ends with a line break. `bold` styles the header.
    pub(crate) fn render(&self, bold: impl Fn(&str) -> String) -> String {
        let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|i| {
                let header = self.headers.get(i).map_or(0, |(h, _)| h.chars().count());
                self.rows.iter().map(|r| cell(r, i).chars().count()).fold(header, usize::max)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut text = String::new();
            for (i, width) in widths.iter().enumerate() {
                let value = cell(cells, i);
                let fill = " ".repeat(width.saturating_sub(value.chars().count()));
                let align = self.headers.get(i).map_or(Align::Left, |(_, a)| *a);
                let (before, after) =
                    if align == Align::Right { (fill, String::new()) } else { (String::new(), fill) };
                text.push_str(if i == 0 { "" } else { "  " });
                text.push_str(&before);
                text.push_str(&value);
                text.push_str(&after);
            }
            text.trim_end().to_owned()
        };
        let header: Vec<String> = self.headers.iter().map(|(h, _)| h.clone()).collect();
        let mut text = format!("{}\n", bold(&line(&header)));
        for row in &self.rows {
            text.push_str(&line(row));
            text.push('\n');
        }
        text
    }
}

/// Cuts a cell and takes line breaks and control characters (which could move the cursor) out of it.
fn printable(cell: &str) -> String {
    let mut text: String = cell
        .chars()
        .take(WIDEST_CELL + 1)
        .map(|c| match c {
            '\n' => '⏎',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect();
    if text.chars().count() > WIDEST_CELL {
        text = text.chars().take(WIDEST_CELL - 1).collect::<String>() + "…";
    }
    text
}

/// Writes a count with separators: `1,234,567`.
pub(crate) fn count_text(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a size for people: `1.5 MiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{Align, Table, bytes_text, count_text};

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("name", Align::Left), ("rows", Align::Right), ("x", Align::Left)]);
        table.row(["a", "1"]);
        table.row(["größe\nb\u{1b}[2J", "12,345", "end"]);
        table.row([&"y".repeat(100), "", ""]);
        let text = table.render(str::to_owned);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("name{}  {:>6}  x", " ".repeat(56), "rows"));
        assert_eq!(lines[1], format!("a{}  {:>6}", " ".repeat(59), "1"));
        assert_eq!(lines[2], format!("größe⏎b\u{fffd}[2J{}  12,345  end", " ".repeat(49)));
        assert_eq!(lines[3], format!("{}…", "y".repeat(59)));
    }

    #[test]
    fn counts_and_sizes_are_readable() {
        let counts = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        counts.iter().for_each(|(n, text)| assert_eq!(count_text(*n), *text));
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        sizes.iter().for_each(|(n, text)| assert_eq!(bytes_text(*n), *text));
    }
}
