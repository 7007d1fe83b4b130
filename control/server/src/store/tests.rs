//! Another configuration: what is taken, what is refused, and what is written down.

use super::*;
use crate::config::load;
use std::os::unix::fs::{PermissionsExt, symlink};

const OLD: &str = "[limits]\nmax_load = 0.5\n";
const NEW: &str = "# mine\n[limits]\nmax_load = 0.75\n";

/// A folder with a file of the configuration.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let own = format!("freshet-store-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(own);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("real.toml"), OLD).unwrap();
        symlink("real.toml", path.join("f.toml")).unwrap();
        Self(path)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Reads `f.toml`, or the text in place of it.
    fn read(&self, text: Option<&str>) -> io::Result<Config> {
        let text = text.map_or_else(|| self.text("f.toml"), str::to_owned);
        load(Some(("f.toml", &text)), [], Vec::new()).map_err(io::Error::other)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What control is told when it sends this, and what the planes are to be told.
async fn put<R: Read>(store: &mut Store<'_, R>, run_dir: &Path, text: &str) -> (Outcome, Next) {
    let (run_dir, text) = (run_dir.to_owned(), text.to_owned());
    let asking = tokio::spawn(async move { ask(&run_dir, &text).await });
    let asked = store.asked().await.unwrap();
    let next = store.put(asked);
    (asking.await.unwrap().unwrap(), next)
}

#[tokio::test]
async fn it_is_taken_as_a_whole_or_not_at_all() {
    let (place, time) = (Place::new("whole"), Cell::default());
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(place.0.join("real.toml"), mode).unwrap();
    let config = place.read(None).unwrap();
    let (read, file) = (
        |text: Option<&str>| place.read(text),
        place.0.join("f.toml"),
    );
    let mut store = Store::new(config, read, Some(file), &place.0, &time).unwrap();
    assert_eq!(time.get(), Span::secs(20));

    let longer = format!("{NEW}[drain]\ndeadline_s = 33\n");
    let (outcome, next) = put(&mut store, &place.0, &longer).await;
    let changed = vec!["drain.deadline_s".to_owned(), "limits.max_load".to_owned()];
    assert_eq!((outcome, next), (Outcome::Taken { changed }, Next::Tell));
    assert_eq!(time.get(), Span::secs(33));
    // With its comments, behind the link, for whom it was before.
    assert_eq!(place.text("real.toml"), longer);
    assert!(place.0.join("f.toml").is_symlink());
    let mode = std::fs::metadata(place.0.join("real.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(place.text("config.toml").contains("max_load = 0.75"));
    // SIGHUP finds the same.
    assert_eq!(store.reload(), Next::Tell);
    assert_eq!(time.get(), Span::secs(33));

    let wrong = "[limits]\nmax_load = 0.6\nhandshakes_max = 0\n";
    let (outcome, next) = put(&mut store, &place.0, wrong).await;
    let Outcome::Wrong {
        line, key, what, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (line, key.as_deref()),
        (Some(3), Some("limits.handshakes_max"))
    );
    assert!(
        what.contains("out of range") && next == Next::Wait,
        "{what}"
    );
    let (outcome, _) = put(&mut store, &place.0, "[limits]\nmax_loud = 1\n").await;
    assert!(
        matches!(outcome, Outcome::Wrong { line: Some(2), .. }),
        "{outcome:?}"
    );

    let fixed = format!("{NEW}[media]\ncores = 3\n[srt]\nlatency_ms = 200\n");
    let (outcome, next) = put(&mut store, &place.0, &fixed).await;
    let keys = vec!["media.cores".to_owned(), "srt.latency_ms".to_owned()];
    assert_eq!(
        (outcome, next),
        (Outcome::WantsRestart { keys }, Next::Wait)
    );
    assert_eq!(place.text("real.toml"), longer, "nothing was changed");
}

#[tokio::test]
async fn without_a_file_nothing_is_written() {
    let (place, time) = (Place::new("none"), Cell::default());
    let read = |text: Option<&str>| place.read(text);
    let config = place.read(None).unwrap();
    let mut store = Store::new(config.clone(), read, None, &place.0, &time).unwrap();
    assert_eq!(
        put(&mut store, &place.0, NEW).await,
        (Outcome::NoFile, Next::Wait)
    );
    assert_eq!(place.text("real.toml"), OLD);
    drop(store);

    let gone = place.0.join("gone.toml");
    let mut store = Store::new(config, read, Some(gone), &place.0, &time).unwrap();
    let (outcome, next) = put(&mut store, &place.0, NEW).await;
    assert!(matches!(outcome, Outcome::NotWritten { .. }), "{outcome:?}");
    assert_eq!(next, Next::Wait);
    assert!(place.text("config.toml").contains("max_load = 0.5"));
}
