//! What a breaker policy learns of single tools. The core asks without it: the meters have it, and only the question needs it.

use router_core::breaker::plan::{BreakerProfile, ToolProfile};
use router_telemetry::ToolFigures;

/// The profile with the figures of its tools. What is beyond those that it may list is summed in its attributes.
pub(crate) fn with(profile: BreakerProfile, figures: ToolFigures) -> BreakerProfile {
    let ToolFigures {
        busiest,
        more,
        rest,
    } = figures;
    let busiest = busiest.into_iter();
    let tools = busiest.map(|(name, figures)| ToolProfile {
        name: name.as_ref().to_owned(),
        calls: figures.requests,
        p50_ms: figures.p50_ms,
        p99_ms: figures.p99_ms,
        error_share: figures.error_rate,
        attributes: Vec::new(),
    });
    let mut attributes = profile.attributes;
    let mut attribute = |name: &str, value: String| attributes.push((name.to_owned(), value));
    if rest.requests > 0 {
        attribute("rest-tools", more.to_string());
        attribute("rest-calls", rest.requests.to_string());
        for (name, figure) in [
            ("rest-p50-ms", rest.p50_ms),
            ("rest-p99-ms", rest.p99_ms),
            ("rest-error-share", rest.error_rate),
        ] {
            if let Some(figure) = figure {
                attribute(name, figure.to_string());
            }
        }
    }
    BreakerProfile {
        tools: tools.collect(),
        attributes,
        ..profile
    }
}

#[cfg(test)]
mod tests {
    use router_core::breaker::plan::{BreakerProfile, ToolProfile};
    use router_telemetry::{Figures, ToolFigures};

    use super::with;

    fn figures(requests: u64) -> Figures {
        Figures {
            requests,
            p50_ms: Some(1.5),
            p99_ms: Some(2.5),
            error_rate: Some(0.25),
            ..Figures::default()
        }
    }

    #[test]
    fn the_busiest_are_listed_and_the_rest_stands_in_attributes() {
        let known = ToolFigures {
            busiest: vec![("render".into(), figures(30))],
            more: 2,
            rest: figures(21),
        };
        let profile = with(BreakerProfile::default(), known);
        let render = ToolProfile {
            name: "render".to_owned(),
            calls: 30,
            p50_ms: Some(1.5),
            p99_ms: Some(2.5),
            error_share: Some(0.25),
            attributes: Vec::new(),
        };
        assert_eq!(profile.tools, [render]);
        let attributes = profile.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            attributes,
            [
                ("rest-tools", "2"),
                ("rest-calls", "21"),
                ("rest-p50-ms", "1.5"),
                ("rest-p99-ms", "2.5"),
                ("rest-error-share", "0.25"),
            ]
        );
        let nothing = with(BreakerProfile::default(), ToolFigures::default());
        assert_eq!(nothing, BreakerProfile::default());
    }
}
