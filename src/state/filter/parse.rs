//! Text to a filter.

use super::{Field, FilterError, Holds, Node, Pattern, Than, folded};
use crate::nearest::distance;

/// Deeper nesting is a mistake, and would end the stack.
const DEPTH: usize = 32;

struct Token<'a> {
    /// Counted from 1, in characters.
    column: usize,
    text: &'a str,
    is: Is,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Open,
    Close,
    Not,
    Or,
    And,
    Term,
}

pub(super) fn read(
    source: &str,
    fields: &'static [Field],
) -> Result<(Node, Option<String>), FilterError> {
    let tokens = tokens(source)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        end: source.chars().count() + 1,
        fields,
        suggestion: None,
        depth: 0,
    };
    let node = if tokens.is_empty() {
        Node::All(Vec::new())
    } else {
        parser.any()?
    };
    if let Some(token) = tokens.get(parser.at) {
        return Err(token.wrong("closes nothing"));
    }
    let plain = matches!(&node, Node::Text { .. });
    Ok((
        node,
        parser.suggestion.filter(|_| plain || tokens.len() > 1),
    ))
}

fn tokens(source: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = source;
    let mut column = 1;
    while let Some(c) = rest.chars().next() {
        let (len, is) = match c {
            _ if c.is_whitespace() => (c.len_utf8(), None),
            '(' => (1, Some(Is::Open)),
            ')' => (1, Some(Is::Close)),
            '!' => (1, Some(Is::Not)),
            _ => {
                let len = term_len(rest).ok_or_else(|| FilterError {
                    column,
                    part: rest.to_owned(),
                    wants: "wants a closing quote".to_owned(),
                })?;
                let is = match rest[..len].to_ascii_lowercase().as_str() {
                    "or" | "||" => Is::Or,
                    "and" | "&&" => Is::And,
                    _ => Is::Term,
                };
                (len, Some(is))
            }
        };
        let (text, after) = rest.split_at(len);
        if let Some(is) = is {
            tokens.push(Token { column, text, is });
        }
        column += text.chars().count();
        rest = after;
    }
    Ok(tokens)
}

/// Bytes up to a blank or a parenthesis outside quotes; `None` if a quote stays open.
fn term_len(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | ')' if !quoted => return Some(at),
            _ if c.is_whitespace() && !quoted => return Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

impl Token<'_> {
    fn wrong(&self, wants: impl Into<String>) -> FilterError {
        FilterError {
            column: self.column,
            part: self.text.to_owned(),
            wants: wants.into(),
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    end: usize,
    fields: &'static [Field],
    suggestion: Option<String>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Is> {
        self.tokens.get(self.at).map(|token| token.is)
    }

    fn any(&mut self) -> Result<Node, FilterError> {
        let mut any = vec![self.all()?];
        while self.peek() == Some(Is::Or) {
            self.at += 1;
            any.push(self.all()?);
        }
        Ok(single(any, Node::Any))
    }

    fn all(&mut self) -> Result<Node, FilterError> {
        let mut all = vec![self.one()?];
        loop {
            match self.peek() {
                Some(Is::And) => {
                    self.at += 1;
                    all.push(self.one()?);
                }
                Some(Is::Open | Is::Not | Is::Term) => all.push(self.one()?),
                Some(Is::Or | Is::Close) | None => return Ok(single(all, Node::All)),
            }
        }
    }

    fn one(&mut self) -> Result<Node, FilterError> {
        let Some(token) = self.tokens.get(self.at) else {
            return Err(FilterError {
                column: self.end,
                part: "the end".to_owned(),
                wants: "wants a word or a field".to_owned(),
            });
        };
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(token.wrong(format!("is nested deeper than {DEPTH} times")));
        }
        let node = match token.is {
            Is::Not => Node::Not(Box::new(self.one()?)),
            Is::Open => {
                let node = self.any()?;
                if self.peek() != Some(Is::Close) {
                    return Err(token.wrong("wants a closing parenthesis"));
                }
                self.at += 1;
                node
            }
            Is::Term => self.term(token)?,
            Is::Close | Is::Or | Is::And => {
                return Err(token.wrong("wants a word or a field before it"));
            }
        };
        self.depth -= 1;
        Ok(node)
    }

    fn term(&mut self, token: &Token<'a>) -> Result<Node, FilterError> {
        let text = token.text;
        let split = text.find([':', '>', '<', '=']).filter(|at| *at > 0);
        let Some(at) = split.filter(|_| !text.starts_with('"')) else {
            let word = text.replace('"', "");
            return Ok(Node::Word(folded(&word).collect()));
        };
        let (name, rest) = text.split_at(at);
        let name = name.to_ascii_lowercase();
        if name == "label" {
            return label(token, rest);
        }
        let Some(field) = self.fields.iter().find(|field| field.name == name) else {
            // An id or a topic with a colon in it is a word like any other, but
            // only a plain name before the colon can have been meant as a field.
            let names = self.fields.iter().map(|field| field.name);
            let near = nearest(&name, names.chain(["label"]));
            return Err(token.wrong(format!("names no field; {near}")));
        };
        match field.holds {
            Holds::Text | Holds::OneOf(_) => {
                let Some(value) = rest.strip_prefix([':', '=']) else {
                    return Err(token.wrong(format!("wants {name}:value")));
                };
                let value = value.replace('"', "");
                if value.is_empty() {
                    return Err(token.wrong(format!("wants a value after {name}:")));
                }
                let pattern = Pattern::new(&value);
                if let Holds::OneOf(words) = field.holds
                    && pattern.is_plain()
                    && !words.iter().any(|word| pattern.matches(word))
                {
                    let value = value.to_ascii_lowercase();
                    let word = nearest_of(&value, words.iter().copied());
                    self.suggestion =
                        word.map(|word| format!("{name}:{}", word.to_ascii_lowercase()));
                }
                Ok(Node::Text {
                    field: field.name,
                    pattern,
                })
            }
            Holds::Time | Holds::Number => amount(token, field, rest),
        }
    }
}

fn single(mut nodes: Vec<Node>, many: impl Fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(node) if nodes.is_empty() => node,
        Some(node) => {
            nodes.push(node);
            many(nodes)
        }
        None => many(nodes),
    }
}

fn label(token: &Token<'_>, rest: &str) -> Result<Node, FilterError> {
    let pair = rest.strip_prefix(':').unwrap_or("").replace('"', "");
    let (key, value) = match pair.split_once('=') {
        Some((key, value)) => (key, Some(Pattern::new(value))),
        None => (pair.as_str(), None),
    };
    if key.is_empty() {
        return Err(token.wrong("wants label:key or label:key=value"));
    }
    Ok(Node::Label {
        key: key.into(),
        value,
    })
}

fn amount(token: &Token<'_>, field: &Field, rest: &str) -> Result<Node, FilterError> {
    let (than, value) = [
        (">=", Than::MoreOrSame),
        ("<=", Than::LessOrSame),
        (">", Than::More),
        ("<", Than::Less),
        ("=", Than::Same),
        (":", Than::Same),
    ]
    .into_iter()
    .find_map(|(sign, than)| Some((than, rest.strip_prefix(sign)?)))
    .unwrap_or((Than::Same, rest));
    let limit = match field.holds {
        Holds::Time => time(value).ok_or("wants a number and s, m, h or d"),
        Holds::Number | Holds::Text | Holds::OneOf(_) => thousandths(value).ok_or("wants a number"),
    };
    Ok(Node::Amount {
        field: field.name,
        than,
        limit: limit.map_err(|wants| token.wrong(wants))?,
    })
}

/// `5m`, `1.5h`, `250ms`, `3d` in milliseconds.
fn time(text: &str) -> Option<i64> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else {
        let unit = match text.chars().last()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return None,
        };
        (&text[..text.len() - 1], unit)
    };
    thousandths(number)?.checked_mul(unit).map(|it| it / 1_000)
}

/// A decimal number, with `%` or without, in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && part.is_empty() || !is_number(whole) || !is_number(part) {
        return None;
    }
    let whole: i64 = format!("0{whole}").parse().ok()?;
    let part: i64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some(sign * whole.checked_mul(1_000)?.checked_add(part)?)
}

fn nearest<'b>(name: &str, names: impl Iterator<Item = &'b str> + Clone) -> String {
    match nearest_of(name, names.clone()) {
        Some(near) => format!("did you mean {near}?"),
        None => {
            let names: Vec<&str> = names.collect();
            format!("there are {}", names.join(", "))
        }
    }
}

/// The nearest name, if it is near at all.
fn nearest_of<'b>(name: &str, names: impl Iterator<Item = &'b str>) -> Option<&'b str> {
    names
        .map(|it| {
            let lower = it.to_ascii_lowercase();
            let begun = !name.is_empty() && lower.starts_with(name);
            (if begun { 1 } else { distance(name, &lower) }, it)
        })
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 3)
        .map(|(_, it)| it)
}

#[cfg(test)]
mod tests {
    use crate::state::filter::{Filter, WorkerRow};
    use crate::state::model::jobs::Job;
    use crate::state::script;

    #[track_caller]
    fn jobs(filter: &str, expected: &str) {
        let state = script::run(
            "0s submit j-alpha topic=job.batch.embed tenant=acme risk=prod,write labels=mcp.action:write \
             | 0s submit j-beta topic=job.chat.simple tenant=orbit | 10s dispatch j-beta w1 \
             | 20s progress j-beta 40% message=\"reading files\" | 100s fail j-gamma w2 code=boom \
             | 400s tick",
        )
        .expect("a script");
        let read = Filter::parse::<Job>(filter).map_err(|error| error.to_string());
        let found = match read {
            Ok(filter) => {
                let mut ids: Vec<String> = state
                    .model
                    .jobs
                    .by_birth()
                    .filter(|job| filter.matches(job.as_ref(), state.now))
                    .map(|job| job.id.as_str().trim_start_matches("j-").to_owned())
                    .collect();
                if ids.is_empty() {
                    ids.push(filter.suggestion().unwrap_or("none").to_owned());
                }
                ids.join(" ")
            }
            Err(error) => error,
        };
        assert_eq!(found, expected, "{filter}");
    }

    #[test]
    fn words_match_fuzzily_in_any_case() {
        jobs("", "alpha beta gamma");
        jobs("alpha", "alpha");
        jobs("ALPH", "alpha");
        jobs("alfa", "none");
        jobs("jalpa", "alpha");
        jobs("reading", "beta");
        jobs("\"reading files\"", "beta");
        jobs("acme", "alpha");
    }

    #[test]
    fn fields_match_as_a_whole_with_stars_for_any_text() {
        jobs("state:pending", "alpha");
        jobs("state:PENDING", "alpha");
        jobs("state:pend", "state:pending");
        jobs("topic:job.batch.*", "alpha");
        jobs("topic:*.simple", "beta");
        jobs("topic:job.*.embed", "alpha");
        jobs("topic:batch", "none");
        jobs("risk:prod", "alpha");
        jobs("worker:w*", "beta gamma");
        jobs("error:boom", "gamma");
        jobs("is:ended", "gamma");
    }

    #[test]
    fn labels_are_looked_up_by_key() {
        jobs("label:mcp.action=write", "alpha");
        jobs("label:mcp.action", "alpha");
        jobs("label:mcp.action=w*", "alpha");
        jobs("label:mcp.action=read", "none");
        jobs(
            "label:",
            "column 1: label: wants label:key or label:key=value",
        );
    }

    #[test]
    fn amounts_compare() {
        jobs("percent>=40", "beta");
        jobs("percent>40", "none");
        jobs("age>5m", "alpha beta");
        jobs(
            "age>6m20s",
            "column 1: age>6m20s wants a number and s, m, h or d",
        );
        jobs("age<=300s", "gamma");
        jobs("attempts=1", "beta");
    }

    #[test]
    fn terms_combine() {
        jobs("!state:pending", "beta gamma");
        jobs("state:pending or error:boom", "alpha gamma");
        jobs("(state:pending or error:boom) !acme", "gamma");
        jobs("acme and topic:job.batch.*", "alpha");
        jobs("acme orbit", "none");
        jobs("acme or orbit and is:ended", "alpha");
    }

    #[test]
    fn a_bad_filter_says_where_it_is_wrong() {
        jobs(
            "state:pending stat:x",
            "column 15: stat:x names no field; did you mean state?",
        );
        jobs(
            "acme age>5x",
            "column 6: age>5x wants a number and s, m, h or d",
        );
        jobs("(acme", "column 1: ( wants a closing parenthesis");
        jobs("acme)", "column 5: ) closes nothing");
        jobs("acme or", "column 8: the end wants a word or a field");
        jobs("or acme", "column 1: or wants a word or a field before it");
        jobs("\"acme", "column 1: \"acme wants a closing quote");
        jobs("state:pendng", "state:pending");
        jobs("percent>many", "column 1: percent>many wants a number");
        let deep = "(".repeat(100_000);
        assert!(Filter::parse::<Job>(&deep).is_err());
    }

    #[test]
    fn workers_are_filtered_by_the_same_language() {
        let state = script::run(
            "0s link nats up | 0s beat w1 pool=gpu cpu=95 slots=1/4 | 0s beat w2 pool=mcp cpu=10",
        )
        .expect("a script");
        let found = |filter: &str| {
            let filter = Filter::parse::<WorkerRow<'_>>(filter).expect("a filter");
            let mut ids: Vec<String> = state
                .model
                .workers
                .shown(state.now, &state.model.links.hearing)
                .filter(|worker| {
                    let standing = state.model.standing(worker, state.now);
                    filter.matches(&WorkerRow { worker, standing }, state.now)
                })
                .map(|worker| worker.id.to_string())
                .collect();
            ids.sort();
            ids.join(" ")
        };
        assert_eq!(found("pressure>=0.9"), "w1");
        assert_eq!(found("pool:gpu or pool:mcp"), "w1 w2");
        assert_eq!(found("standing:live cpu<50%"), "w2");
    }
}
