//! Owns what is shown of the configuration: everything but the secrets.

use super::Config;

/// Stands for a secret. Too short for one: a text that has it is refused when it is sent back.
const REDACTED: &str = "redacted";

/// What names of keys with secrets have in them.
const SECRETS: [&str; 2] = ["token", "passphrase"];

impl Config {
    /// All values, secrets redacted; an empty one, which means none, is shown.
    #[must_use]
    pub fn redacted(&self) -> toml::Table {
        // What was read can be written.
        let mut table = toml::Table::try_from(self).unwrap_or_default();
        redact(&mut table);
        table
    }
}

fn redact(table: &mut toml::Table) {
    for (key, value) in table {
        let is_secret = SECRETS.iter().any(|name| key.contains(name));
        visit(value, is_secret);
    }
}

fn visit(value: &mut toml::Value, is_secret: bool) {
    match value {
        toml::Value::Table(table) => redact(table),
        toml::Value::Array(values) => {
            for value in values {
                visit(value, is_secret);
            }
        }
        toml::Value::String(text) if is_secret && !text.is_empty() => *text = REDACTED.to_owned(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    #[test]
    fn no_secret_is_shown_and_none_is_taken_back() {
        let text = "[srt]\npassphrase = \"a-secret-0123456789\"\n\
            [auth]\npublish_tokens = [\"b-secret-0123456789\", \"c-secret-0123456789\"]\n\
            play_tokens = [\"d-secret-0123456789\"]\nadmin_tokens = [\"e-secret-0123456789\"]\n\
            [[stream]]\nname = \"x\"\npassphrase = \"f-secret-0123456789\"\n\
            publish_token = \"g-secret-0123456789\"\nplay_token = \"h-secret-0123456789\"\n\
            [[stream]]\nname = \"open\"\npassphrase = \"\"\n\
            [[pull]]\nstream = \"p\"\nurl = \"http://192.0.2.1/whep/p\"\n\
            token = \"i-secret-0123456789\"\n\
            [[push]]\nstream = \"q\"\nurl = \"http://192.0.2.1/whip/q\"\n\
            token = \"j-secret-0123456789\"\n";
        let config = load(Some(("f.toml", text)), [], Vec::new()).unwrap();
        // All of them are secrets to the program, too.
        assert!(!format!("{config:?}").contains("-secret-"));
        let shown = toml::to_string(&config.redacted()).unwrap();
        assert!(!shown.contains("-secret-"), "{shown}");
        assert_eq!(shown.matches("\"redacted\"").count(), 10, "{shown}");
        assert!(shown.contains("passphrase = \"\""), "{shown}");
        assert!(shown.contains("http://192.0.2.1/whep/p"), "{shown}");
        let error = load(Some(("f.toml", &shown)), [], Vec::new()).unwrap_err();
        assert!(error.what.contains("of 8 bytes"), "{error}");
    }
}
