//! Answers of both generations, read leniently.
//!
//! Go writes an absent list as null, lists come bare or as `items`, and one
//! record that cannot be read must not hide the others.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::types::{List, instant};

/// Reads one object; members that are null count as absent.
pub(super) fn one<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(without_nulls(value)).map_err(|error| error.to_string())
}

/// Reads a list, bare or as `{items, next_cursor}`.
pub(super) fn list<T: DeserializeOwned>(value: Value) -> Result<List<T>, String> {
    let bare = matches!(value, Value::Array(_));
    let mut record_since = None;
    let (items, next_cursor) = match value {
        Value::Array(items) => (items, None),
        Value::Null => (Vec::new(), None),
        Value::Object(mut object) => {
            if let Some(told) = object.remove("record_since") {
                record_since = instant(told).unwrap_or_default();
            }
            let cursor = match object.remove("next_cursor") {
                Some(Value::Number(number)) => Some(number.to_string()),
                Some(Value::String(text)) if !text.is_empty() => Some(text),
                _ => None,
            };
            match object.remove("items") {
                Some(Value::Array(items)) => (items, cursor),
                Some(Value::Null) => (Vec::new(), cursor),
                _ => return Err("the answer is no list".to_owned()),
            }
        }
        _ => return Err("the answer is no list".to_owned()),
    };
    let all = items.len();
    let items: Vec<T> = items.into_iter().filter_map(|it| one(it).ok()).collect();
    Ok(List {
        unreadable: all - items.len(),
        items,
        next_cursor,
        bare,
        record_since,
    })
}

/// Drops null members of the object and of the records that are known to be
/// inside of one; free JSON such as payloads is left as it is.
pub(super) fn without_nulls(value: Value) -> Value {
    let Value::Object(mut object) = value else {
        return value;
    };
    object.retain(|_, member| !member.is_null());
    for name in [
        "job",
        "meta",
        "compensation",
        "build",
        "nats",
        "redis",
        "workers",
        "pipeline",
    ] {
        if let Some(member) = object.get_mut(name) {
            *member = without_nulls(member.take());
        }
    }
    Value::Object(object)
}

/// Standard base64, with or without padding; `None` when it is not.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for &letter in group {
            let six = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        match group.len() {
            4 => bytes.extend_from_slice(&bits.to_be_bytes()[1..]),
            3 => bytes.extend_from_slice(&(bits << 6).to_be_bytes()[1..3]),
            2 => bytes.push((bits << 12).to_be_bytes()[1]),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway_client::types::WorkerRecord;
    use crate::time::Timestamp;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8", b"fo"),
            ("Zm9v", b"foo"),
            ("+/8=", b"\xfb\xff"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Z", "Zg!=", "Zm9vZ", "-_8="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn both_generations_of_lists_are_read_and_broken_records_are_counted() {
        let worker = json!({"worker_id":"w1","capabilities":null,"labels":null});
        let broken = json!({"worker_id":"w2","active_jobs":"many"});
        let mut bare = Vec::new();
        for answer in [
            json!([worker, broken]),
            json!({"items":[worker, broken], "next_cursor": null}),
        ] {
            let list: List<WorkerRecord> = list(answer).expect("a list");
            assert_eq!(list.items.len(), 1);
            assert_eq!(list.items[0].worker_id, "w1");
            assert_eq!((list.unreadable, list.next_cursor), (1, None));
            bare.push(list.bare);
        }
        assert_eq!(bare, [true, false]);
        let page: List<WorkerRecord> =
            list(json!({"items":null,"next_cursor":17})).expect("a list");
        assert_eq!(page.next_cursor.as_deref(), Some("17"));
        assert_eq!(page.record_since, None);
        let told = json!({"items": [], "record_since": 1_767_225_600_000_000_i64});
        let page: List<WorkerRecord> = list(told).expect("a list");
        assert_eq!(
            page.record_since,
            Some(Timestamp::from_millis(1_767_225_600_000))
        );
        assert!(list::<WorkerRecord>(json!({"error":"x"})).is_err());
    }
}
