//! A parser of the Prometheus text format 0.0.4 that takes nothing on trust: it panics on whatever the format forbids, and on what
//! it merely tolerates (a family without `# HELP`, or torn apart by another one).

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(crate) struct Exposition {
    pub(crate) families: Vec<ParsedFamily>,
    pub(crate) samples: Vec<ParsedSample>,
}

pub(crate) struct ParsedFamily {
    pub(crate) name: String,
    pub(crate) help: String,
    kind: String,
}

pub(crate) struct ParsedSample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends too");
        let mut families: Vec<ParsedFamily> = Vec::new();
        let mut names = BTreeSet::new();
        let mut series = HashSet::new();
        let mut samples = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(!help.is_empty() && is_name(name), "{line}");
                assert!(names.insert(name.to_owned()), "family {name} appears twice");
                families.push(ParsedFamily {
                    name: name.to_owned(),
                    help: help.to_owned(),
                    kind: String::new(),
                });
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let family = families.last_mut().expect("HELP comes first");
                assert!(
                    family.name == name && family.kind.is_empty(),
                    "TYPE of {name} out of place"
                );
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                kind.clone_into(&mut family.kind);
            } else {
                assert!(
                    !line.starts_with('#') && !line.trim().is_empty(),
                    "{line:?}"
                );
                let sample = parse_sample(line);
                let family = families.last().expect("HELP and TYPE come first");
                assert!(
                    family.owns(&sample),
                    "{line} under {} ({})",
                    family.name,
                    family.kind
                );
                let key = format!("{}{:?}", sample.name, sample.labels);
                assert!(series.insert(key), "{line} appears twice");
                samples.push(sample);
            }
        }
        let exposition = Self { families, samples };
        for family in &exposition.families {
            exposition.check(family);
        }
        exposition
    }

    fn check(&self, family: &ParsedFamily) {
        let name = &family.name;
        if family.kind != "histogram" {
            assert!(self.count(name) > 0, "family {name} has no series");
            return;
        }
        let bucket = format!("{name}_bucket");
        let mut series: BTreeMap<Vec<(&str, &str)>, Vec<&ParsedSample>> = BTreeMap::new();
        for sample in self.of(&bucket) {
            let labels = sample.labels.iter();
            let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
            let labels = labels.filter(|(name, _)| *name != "le").collect();
            series.entry(labels).or_default().push(sample);
        }
        assert!(!series.is_empty(), "family {name} has no series");
        for (labels, buckets) in series {
            self.check_histogram(name, &labels, &buckets);
        }
    }

    fn check_histogram(&self, name: &str, labels: &[(&str, &str)], buckets: &[&ParsedSample]) {
        let bound = |sample: &ParsedSample| {
            sample.labels["le"]
                .replace("+Inf", "inf")
                .parse::<f64>()
                .expect("a boundary")
        };
        for pair in buckets.windows(2) {
            assert!(
                bound(pair[0]) < bound(pair[1]) && pair[0].value <= pair[1].value,
                "{name} is not cumulative"
            );
        }
        let last = buckets.last().expect("buckets");
        assert_eq!(last.labels["le"], "+Inf", "{name}");
        assert_eq!(
            self.value(&format!("{name}_count"), labels),
            Some(last.value),
            "{name}"
        );
        assert!(
            self.value(&format!("{name}_sum"), labels).is_some(),
            "{name}"
        );
    }

    pub(crate) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ParsedSample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.of(name).count()
    }

    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<_, _> = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self.of(name)
            .find(|sample| sample.labels == wanted)
            .map(|sample| sample.value)
    }
}

impl ParsedFamily {
    fn owns(&self, sample: &ParsedSample) -> bool {
        match self.kind.as_str() {
            "histogram" => sample
                .name
                .strip_prefix(&self.name)
                .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
            "" => false,
            kind => sample.name == self.name && (kind != "counter" || sample.value >= 0.0),
        }
    }
}

fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    !name.is_empty() && name.bytes().all(fine) && !name.as_bytes()[0].is_ascii_digit()
}

fn parse_sample(line: &str) -> ParsedSample {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest),
        None => (BTreeMap::new(), rest),
    };
    let value = rest.strip_prefix(' ').expect("one space before the value");
    let plain = value
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    assert!(plain, "value {value:?} in {line}");
    ParsedSample {
        name: name.to_owned(),
        labels,
        value: value.parse().expect("a number"),
    }
}

fn parse_labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && !name.contains(':'), "label {name:?}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            let (at, c) = chars.next().expect("a closing quote");
            match c {
                '"' => break at,
                '\\' => match chars.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    other => panic!("escape of {other:?}"),
                },
                '\n' => panic!("a bare line end"),
                c => value.push(c),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "label {name} twice"
        );
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').expect("a closing brace")),
        }
    }
}
