use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Failure, FrameError, checked_line, null_is_default, present};
use crate::Offset;

/// What a worker says.
#[derive(Debug, Clone)]
pub enum Message {
    /// The result of a call that does not read, as JSON.
    Result {
        /// The request.
        id: u64,
        /// The result.
        result: Box<RawValue>,
    },
    /// The end of a read.
    End {
        /// The request.
        id: u64,
        /// The offset that it reached.
        end: Option<Offset>,
    },
    /// The request failed; the worker stays usable.
    Error {
        /// The request.
        id: u64,
        /// Why.
        error: Failure,
    },
    /// Records follow as a body.
    Records {
        /// The request.
        id: u64,
        /// How many.
        records: u64,
        /// Length of the body.
        bytes: u64,
    },
    /// A line for the log.
    Log(LogLine),
    /// A sign of life.
    Alive(Alive),
    /// A message of a kind that this version does not know.
    Unknown,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// It is not an answer.
    pub fn parse(line: &[u8]) -> Result<Self, FrameError> {
        let text = checked_line(line)?;
        match serde_json::from_str::<Wire<'_>>(text).map_err(|e| e.to_string()).and_then(Wire::into_message) {
            Ok(message) => Ok(message),
            // What a connector says or raises may quote broken text: that must not cost the worker.
            Err(reason) => match serde_json::from_str::<Wire<'_>>(&without_lone_surrogates(text))
                .map_err(|e| e.to_string())
                .and_then(Wire::into_message)
            {
                Ok(message @ (Message::Log(_) | Message::Error { .. })) => Ok(message),
                _ => Err(FrameError::not_a_message(line, reason)),
            },
        }
    }

    /// The line, with its line break.
    ///
    /// # Errors
    /// Something in it does not serialise.
    pub fn to_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct ResultLine<'a> {
            id: u64,
            result: &'a RawValue,
        }
        #[derive(Serialize)]
        struct EndLine<'a> {
            id: u64,
            end: &'a Option<Offset>,
        }
        #[derive(Serialize)]
        struct ErrorLine<'a> {
            id: u64,
            error: &'a Failure,
        }
        #[derive(Serialize)]
        struct RecordsLine {
            id: u64,
            records: u64,
            bytes: u64,
        }
        #[derive(Serialize)]
        struct LogMessage<'a> {
            log: &'a LogLine,
        }
        #[derive(Serialize)]
        struct AliveMessage<'a> {
            alive: &'a Alive,
        }
        let mut line = match self {
            Message::Result { id, result } => serde_json::to_vec(&ResultLine { id: *id, result }),
            Message::End { id, end } => serde_json::to_vec(&EndLine { id: *id, end }),
            Message::Error { id, error } => serde_json::to_vec(&ErrorLine { id: *id, error }),
            Message::Records { id, records, bytes } => {
                serde_json::to_vec(&RecordsLine { id: *id, records: *records, bytes: *bytes })
            }
            Message::Log(log) => serde_json::to_vec(&LogMessage { log }),
            Message::Alive(alive) => serde_json::to_vec(&AliveMessage { alive }),
            Message::Unknown => Ok(b"{}".to_vec()),
        }?;
        line.push(b'\n');
        Ok(line)
    }

    /// The request that it answers, where it answers one.
    pub fn id(&self) -> Option<u64> {
        match self {
            Message::Result { id, .. }
            | Message::End { id, .. }
            | Message::Error { id, .. }
            | Message::Records { id, .. } => Some(*id),
            Message::Log(_) | Message::Alive(_) | Message::Unknown => None,
        }
    }
}

/// Every member that an answer may have.
#[derive(Deserialize)]
struct Wire<'a> {
    id: Option<u64>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    end: Option<Option<Offset>>,
    error: Option<Failure>,
    records: Option<u64>,
    bytes: Option<u64>,
    log: Option<LogLine>,
    alive: Option<Alive>,
}

impl Wire<'_> {
    fn into_message(self) -> Result<Message, String> {
        if let Some(log) = self.log {
            return Ok(Message::Log(log));
        }
        if let Some(alive) = self.alive {
            return Ok(Message::Alive(alive));
        }
        let answers = [
            self.result.is_some(),
            self.end.is_some(),
            self.error.is_some(),
            self.records.is_some() || self.bytes.is_some(),
        ];
        match answers.iter().filter(|there| **there).count() {
            0 if self.id.is_none() => return Ok(Message::Unknown),
            1 => {}
            0 => return Err("none of `result`, `end`, `error` and `records` is there".into()),
            _ => return Err("more than one of `result`, `end`, `error` and `records`".into()),
        }
        let id = self.id.ok_or("`id` is missing")?;
        Ok(if let Some(result) = self.result {
            Message::Result { id, result: result.to_owned() }
        } else if let Some(end) = self.end {
            Message::End { id, end }
        } else if let Some(error) = self.error {
            Message::Error { id, error }
        } else {
            let bytes = self.bytes.ok_or("`bytes` is missing")?;
            Message::Records { id, records: self.records.ok_or("`records` is missing")?, bytes }
        })
    }
}

/// The text with replacement characters in the place of escapes of surrogates that stand alone.
fn without_lone_surrogates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = |text: &str| {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let taken = match unit(escape) {
            Some(0xd800..=0xdbff) => match escape.get(6..).and_then(unit) {
                Some(0xdc00..=0xdfff) => 12,
                _ => 0,
            },
            Some(0xdc00..=0xdfff) => 0,
            Some(_) => 6,
            None => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, replaced) =
            if taken == 0 { ("\\ufffd", 6) } else { (escape.get(..taken).unwrap_or(escape), taken) };
        out.push_str(kept);
        rest = escape.get(replaced..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The result of `hello`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version taken.
    pub protocol: u32,
    /// What the worker is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub worker: String,
    /// Its version.
    #[serde(default, deserialize_with = "null_is_default")]
    pub version: String,
    /// What it runs on.
    #[serde(default, deserialize_with = "null_is_default")]
    pub runtime: String,
    /// `python` where its values are Python's; else they are JSON's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
}

/// The result of `open`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// A name for logs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub connector: String,
    /// The optional calls that there are.
    #[serde(default, deserialize_with = "null_is_default")]
    pub abilities: Abilities,
}

/// The optional calls that an instance answers. Names that are not known are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<Ability>")]
#[allow(clippy::struct_excessive_bools, reason = "a set of four names, each of which is asked for by itself")]
pub struct Abilities {
    /// Partitioned batch reads.
    pub partition: bool,
    /// Partitioned streams.
    pub partitioned_stream: bool,
    /// Namespaces.
    pub namespaces: bool,
    /// Operations for agents.
    pub agent: bool,
}

/// An optional ability, by its name in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Partitioned batch reads.
    Partition,
    /// Partitioned streams.
    PartitionedStream,
    /// Namespaces.
    Namespaces,
    /// Operations for agents.
    Agent,
}

impl From<Vec<String>> for Abilities {
    fn from(names: Vec<String>) -> Self {
        let has = |name: &str| names.iter().any(|n| n == name);
        Self {
            partition: has("partition"),
            partitioned_stream: has("partitioned_stream"),
            namespaces: has("namespaces"),
            agent: has("agent"),
        }
    }
}

impl From<Abilities> for Vec<Ability> {
    fn from(abilities: Abilities) -> Self {
        [
            (abilities.partition, Ability::Partition),
            (abilities.partitioned_stream, Ability::PartitionedStream),
            (abilities.namespaces, Ability::Namespaces),
            (abilities.agent, Ability::Agent),
        ]
        .into_iter()
        .filter_map(|(there, ability)| there.then_some(ability))
        .collect()
    }
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    #[serde(default)]
    pub level: LogLevel,
    /// What it says.
    #[serde(default, deserialize_with = "null_is_default")]
    pub message: String,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may be wrong.
    Warning,
    /// For whoever looks for a fault.
    Debug,
    /// What happens; also a level that this version does not know.
    #[default]
    #[serde(other)]
    Info,
}

/// A sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Memory of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Requests sent to the source since `open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The line of the connector that is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Reads the result of a call as a type.
///
/// # Errors
/// It has another shape.
pub fn read_result<T: DeserializeOwned>(result: &RawValue) -> Result<T, serde_json::Error> {
    serde_json::from_str(result.get())
}

#[cfg(test)]
mod tests {
    use super::{Abilities, Hello, LogLevel, Message, Opened, without_lone_surrogates};

    fn round(line: &str) {
        let message = Message::parse(line.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(message.to_line().unwrap()).unwrap(), format!("{line}\n"));
    }

    #[test]
    fn answers_are_written_as_the_protocol_says_and_read_back() {
        round(r#"{"id":1,"result":{"protocol":1}}"#);
        round(r#"{"id":1,"result":null}"#);
        round(r#"{"id":1,"result":[1e400,123456789012345678901234567890]}"#);
        round(r#"{"id":3,"records":1000,"bytes":482113}"#);
        round(r#"{"id":3,"end":null}"#);
        round(r#"{"id":3,"end":{"since":"2024","n":1.10}}"#);
        round(r#"{"id":3,"error":{"kind":"unknown_table","message":"no","available":["a"]}}"#);
        round(r#"{"log":{"level":"warning","message":"m","logger":"l"}}"#);
        round(r#"{"log":{"level":"debug","message":"m"}}"#);
        round(r#"{"alive":{"rss_bytes":1,"requests":2,"at":"a.py:1 in f"}}"#);
        round(r#"{"alive":{}}"#);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let parse = |line: &str| Message::parse(line.as_bytes()).unwrap();
        assert!(matches!(parse(r#"{"progress":{"rows":1}}"#), Message::Unknown));
        assert!(matches!(parse(r#"{"id":1,"result":1,"took":{"ms":[1]}}"#), Message::Result { id: 1, .. }));
        assert!(matches!(
            parse(r#"{"log":{"level":"critical","message":"m"}}"#),
            Message::Log(line) if line.level == LogLevel::Info
        ));
        let opened: Opened = serde_json::from_str(r#"{"abilities":["namespaces","telepathy"]}"#).unwrap();
        assert_eq!(opened.abilities, Abilities { namespaces: true, ..Abilities::default() });
        let hello: Hello = serde_json::from_str(r#"{"protocol":1,"runtime":null}"#).unwrap();
        assert_eq!(hello, Hello { protocol: 1, ..Hello::default() });
    }

    #[test]
    fn an_answer_that_cannot_be_read_says_why() {
        let check = |line: &[u8], expect: &str| {
            let error = Message::parse(line).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(b"", "a JSON object was expected");
        check(b"null", "a JSON object was expected");
        check(b"{\"id\":1,\"result\":\xff}", "invalid utf-8");
        check(br#"{"id":1}"#, "none of `result`");
        check(br#"{"result":1}"#, "`id` is missing");
        check(br#"{"id":1,"result":1,"end":null}"#, "more than one of");
        check(br#"{"id":1,"records":1}"#, "`bytes` is missing");
        check(br#"{"id":1,"records":1,"bytes":-5}"#, "invalid value");
        check(br#"{"id":"1","result":1}"#, "invalid type");
        check(br#"{"id":1,"result":1"#, "the document ends in the middle");
        check(br#"{"id":1,"id":2,"result":1}"#, "duplicate field");
        check(br#"{"id":1,"end":{"a":"\ud800"}}"#, "not a message");
        check(format!(r#"{{"id":1,"result":{}"#, "[".repeat(1 << 20)).as_bytes(), "nested deeper");
        check(
            format!(r#"{{"id":1,"end":{}{}}}"#, "[".repeat(80), "]".repeat(80)).as_bytes(),
            "more than 64 levels deep",
        );
    }

    #[test]
    fn broken_text_in_a_log_line_or_an_error_is_mended() {
        let line = br#"{"log":{"level":"info","message":"a\ud800b\\ud800 \ud83d\ude00 \udc00"}}"#;
        assert!(matches!(
            Message::parse(line).unwrap(),
            Message::Log(line) if line.message == "a\u{fffd}b\\ud800 \u{1f600} \u{fffd}"
        ));
        assert_eq!(without_lone_surrogates(r#"\"\ud800"#), r#"\"\ufffd"#);
        assert_eq!(without_lone_surrogates("\\"), "\\");
    }
}
