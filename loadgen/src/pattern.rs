//! Names with places in them, such as `{run}/{topic/100}/{topic%100}`: how a scenario writes many topics in one line.
//! Must not know what a name is used for. Neighbour: `plan`.

/// A pattern, read once and filled in for every client or topic.
#[derive(Debug)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// `{name/divisor%modulus}`; both are optional.
    Number {
        name: usize,
        divisor: u32,
        modulus: Option<u32>,
    },
}

impl Pattern {
    /// Reads `text`. `{run}` is replaced by `run` at once; `names` are the places that [`fill`](Self::fill) fills.
    ///
    /// A place is `{name}`, `{name/K}` (whole part of the division by K), `{name%M}` (remainder of the division by M) or
    /// `{name/K%M}` (first one, then the other).
    ///
    /// Errors: one sentence, when a place is none of these.
    pub fn parse(text: &str, run: &str, names: &[&str]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (place, behind) = behind.split_once('}').ok_or_else(|| format!("'{text}': a {{ has no }}"))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match place {
                "run" => Piece::Text(run.to_owned()),
                place => number(place, names)
                    .ok_or_else(|| format!("'{text}': {{{place}}} is not {{run}} or {{{}}}", names.join("}, {")))?,
            });
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { pieces })
    }

    /// The pattern with `numbers` in its places, in the order of the names it was read with.
    pub fn fill(&self, numbers: &[u32]) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Number { name, divisor, modulus } => {
                    let quotient = numbers[*name] / divisor;
                    filled.push_str(&modulus.map_or(quotient, |modulus| quotient % modulus).to_string());
                }
            }
        }
        filled
    }
}

fn number(place: &str, names: &[&str]) -> Option<Piece> {
    let positive = |digits: &str| digits.parse().ok().filter(|&number: &u32| number > 0);
    let (rest, modulus) = match place.split_once('%') {
        Some((rest, digits)) => (rest, Some(positive(digits)?)),
        None => (place, None),
    };
    let (name, divisor) = match rest.split_once('/') {
        Some((name, digits)) => (name, positive(digits)?),
        None => (rest, 1),
    };
    let name = names.iter().position(|known| *known == name)?;
    Some(Piece::Number { name, divisor, modulus })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        Ok(Pattern::parse(text, "00c0ffee", &["publisher", "topic"])?.fill(&[7, 1234]))
    }

    #[test]
    fn places_are_filled_divided_and_reduced() {
        let cases = [
            ("plain", "plain"),
            ("{run}/x/{publisher}/{topic}", "00c0ffee/x/7/1234"),
            ("{topic/100}/{topic%100}", "12/34"),
            ("{topic/100%10}-{publisher/10}", "2-0"),
        ];
        for (text, expected) in cases {
            assert_eq!(filled(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_place_that_means_nothing_is_refused_in_one_sentence() {
        for text in ["{topics}", "{topic", "{topic/0}", "{topic%}", "{topic%x}", "{}", "{topic%3/2}"] {
            let error = filled(text).expect_err("it means nothing");
            assert!(error.contains(text) && !error.contains('\n'), "{error}");
        }
    }
}
