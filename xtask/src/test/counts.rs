//! How many tests passed, failed or were skipped, read from what test runners write.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result};

/// How a test says that it did not run: the start of a line on standard error.
const SKIPPED: &str = "skipped: ";

/// Numbers of tests, each counted once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Names of the failed tests.
    pub(crate) failures: Vec<String>,
    /// Why tests were skipped.
    pub(crate) reasons: BTreeSet<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures.iter().cloned());
        self.reasons.extend(other.reasons.iter().cloned());
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Reads the JUnit file of nextest, which holds one element `testcase` for each test.
pub(crate) fn from_junit(xml: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    let (_, cases) = xml
        .split_once("<testsuites")
        .context("expected a JUnit file, found no `<testsuites`")?;
    for case in cases.split("<testcase ").skip(1) {
        let failed = case.contains("<failure") || case.contains("<error");
        let reasons = skip_reasons(case);
        if failed {
            counts.failed += 1;
            let attribute = |name| attribute(case, name).unwrap_or_default();
            let name = format!("{} {}", attribute("classname"), attribute("name"));
            counts.failures.push(name);
        } else if reasons.is_empty() {
            counts.passed += 1;
        } else {
            counts.skipped += 1;
            counts.reasons.extend(reasons);
        }
    }
    Ok(counts)
}

/// Reads the output of `cargo test -- --show-output`.
pub(crate) fn from_libtest(stdout: &str) -> Counts {
    let mut counts = Counts::default();
    for line in stdout.lines() {
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |what| number_before(result, what);
            counts.passed += number(" passed");
            counts.failed += number(" failed");
            counts.skipped += number(" ignored");
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            counts.failures.push(name.to_owned());
        }
    }
    // Under a heading `---- name stdout ----` for each test that passed and printed something.
    for section in stdout.split("\n---- ").skip(1) {
        let (own, _) = section.split_once("\n---- ").unwrap_or((section, ""));
        let reasons = skip_reasons(own);
        if !reasons.is_empty() && counts.passed > 0 {
            counts.passed -= 1;
            counts.skipped += 1;
            counts.reasons.extend(reasons);
        }
    }
    counts
}

/// What follows `skipped: ` at the start of a line or of an XML element.
fn skip_reasons(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let line = line
                .rsplit_once("<system-err>")
                .map_or(line, |(_, rest)| rest);
            let reason = line.trim_start().strip_prefix(SKIPPED)?;
            let reason = reason
                .split_once("</system-err>")
                .map_or(reason, |(own, _)| own);
            Some(unescaped(reason.trim_end()))
        })
        .collect()
}

/// An attribute of an element, given from behind the element's name on.
fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = element.split_once('>')?.0;
    loop {
        let (own_name, value) = rest.split_once("=\"")?;
        let (value, behind) = value.split_once('"')?;
        if own_name.trim() == name {
            return Some(value);
        }
        rest = behind;
    }
}

fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// The number that stands before `what`, 0 when there is none.
fn number_before(text: &str, what: &str) -> usize {
    text.split_once(what)
        .and_then(|(before, _)| before.rsplit([' ', '.']).next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_cases_are_passed_failed_or_skipped() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0">
    <testsuite name="data" tests="3">
        <testcase name="reads" classname="data" time="0.1">
        </testcase>
        <testcase name="photos" classname="data::shared" time="0.1">
            <system-out>running 1 test</system-out>
            <system-err>skipped: no &quot;../shared&quot;
</system-err>
        </testcase>
        <testcase classname="data" name="breaks" time="0.1">
            <failure type="test failure">left: skipped: not this</failure>
        </testcase>
    </testsuite>
</testsuites>"#;
        let counts = from_junit(xml).unwrap();
        assert_eq!(counts.to_string(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(counts.failures, ["data breaks"]);
        let reasons: Vec<&String> = counts.reasons.iter().collect();
        assert_eq!(reasons, ["no \"../shared\""]);
    }

    #[test]
    fn something_else_than_junit_is_refused() {
        assert!(from_junit("").is_err());
    }

    #[test]
    fn libtest_results_are_summed_up() {
        let stdout = "
running 3 tests
test reads ... ok
test photos ... ok
test breaks ... FAILED

successes:

---- photos stdout ----
skipped: no shared folder

---- reads stdout ----
read 3 files

successes:
    photos
    reads

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

running 2 tests
test result: ok. 11 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out
";
        let counts = from_libtest(stdout);
        assert_eq!(counts.to_string(), "12 passed, 1 failed, 2 skipped");
        assert_eq!(counts.failures, ["breaks"]);
    }

    #[test]
    fn no_output_has_no_tests() {
        assert_eq!(from_libtest("error: could not compile"), Counts::default());
    }
}
