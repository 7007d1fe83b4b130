//! Streamids of encoders, and of those who try.

use super::*;
use proptest::prelude::*;

fn parsed(raw: &str) -> Result<StreamId, BadStreamId> {
    StreamId::parse(raw.as_bytes(), None)
}

fn id(mode: Mode, name: &str, user: Option<&str>, token: Option<&str>) -> StreamId {
    StreamId {
        mode,
        name: name.into(),
        user: user.map(Into::into),
        token: token.map(Into::into),
    }
}

#[test]
fn every_dialect_names_the_stream() {
    for (raw, want) in [
        ("cam1", id(Mode::Publish, "cam1", None, None)),
        ("/studio/cam1", id(Mode::Publish, "studio/cam1", None, None)),
        ("cam1#feedbackplay", id(Mode::Publish, "cam1", None, None)),
        (
            "publish:studio/cam1",
            id(Mode::Publish, "studio/cam1", None, None),
        ),
        ("read:cam1", id(Mode::Read, "cam1", None, None)),
        (
            "publish:cam1:ann:s3:cret",
            id(Mode::Publish, "cam1", Some("ann"), Some("s3:cret")),
        ),
        ("publish%3Acam1", id(Mode::Publish, "cam1", None, None)),
        (
            "#!::r=cam1,m=publish",
            id(Mode::Publish, "cam1", None, None),
        ),
        ("#!::r=cam1", id(Mode::Publish, "cam1", None, None)),
        ("#!::m=request,r=/a/b", id(Mode::Read, "a/b", None, None)),
        (
            "#!::r=a%2Fb,u=ann,s=50%",
            id(Mode::Publish, "a/b", Some("ann"), Some("50%")),
        ),
        (
            "#!::h=host,t=stream,r=x,,x=1",
            id(Mode::Publish, "x", None, None),
        ),
        (
            "%23!::r=cam1,m=publish",
            id(Mode::Publish, "cam1", None, None),
        ),
        (
            "%23%21%3A%3Ar%3Dcam1%2Cs%3Dtok",
            id(Mode::Publish, "cam1", None, Some("tok")),
        ),
        (
            "#!::u=k3y,bmd_uuid=0-1-2,bmd_name=Studio 4K",
            id(Mode::Publish, "k3y", None, None),
        ),
        (
            "srt://host:9000/app/cam1",
            id(Mode::Publish, "app/cam1", None, None),
        ),
        (
            "srt%3A%2F%2Fhost%3A9000%2Fapp%2Fcam1%3Fx%3D1",
            id(Mode::Publish, "app/cam1", None, None),
        ),
        (
            "SRT://h?mode=caller&streamid=read:cam1",
            id(Mode::Read, "cam1", None, None),
        ),
        (
            "srt://h:1?streamid=%23!::r=cam1,m=request",
            id(Mode::Read, "cam1", None, None),
        ),
    ] {
        assert_eq!(parsed(raw), Ok(want), "{raw}");
    }
}

#[test]
fn what_is_wrong_is_told() {
    let long = "x".repeat(65);
    for (raw, want) in [
        ("", BadStreamId::Missing),
        ("/", BadStreamId::NameMissing),
        ("publish:", BadStreamId::NameMissing),
        ("#!::", BadStreamId::NameMissing),
        ("#!::m=publish", BadStreamId::NameMissing),
        ("srt://host:9000", BadStreamId::NameMissing),
        ("../etc/passwd", BadStreamId::Name),
        ("%2e%2e/x", BadStreamId::Name),
        ("#!::r=a/%2e%2e/b", BadStreamId::Name),
        ("publish:a//b", BadStreamId::Name),
        ("a/b/c/d/e", BadStreamId::Name),
        ("play:cam1", BadStreamId::Name),
        ("#!:{r=x}", BadStreamId::Name),
        ("srt://h/x?streamid=srt://h/y?streamid=z", BadStreamId::Name),
        (long.as_str(), BadStreamId::Name),
        ("#!::r=a,r=b", BadStreamId::Pairs),
        ("#!::r=a,m", BadStreamId::Pairs),
        ("#!::r=a,m=bidirectional", BadStreamId::Mode),
        ("#!::r=a,t=file", BadStreamId::Kind),
        ("cam1\nfake log line", BadStreamId::NotText),
        ("cam1%0afake", BadStreamId::NotText),
        ("#!::r=cam1,u=\u{1b}[2J", BadStreamId::NotText),
        ("cam%zz", BadStreamId::NotText),
        ("cam%1", BadStreamId::NotText),
        ("c\u{e4}m", BadStreamId::NotText),
    ] {
        assert_eq!(parsed(raw), Err(want), "{raw:?}");
    }
    assert_eq!(
        StreamId::parse(&[b'a'; 513], None),
        Err(BadStreamId::TooLong)
    );
    assert_eq!(
        StreamId::parse(&[0xff, 0xfe], None),
        Err(BadStreamId::NotText)
    );
}

#[test]
fn an_encoder_without_a_streamid_takes_the_configured_name() {
    let taken = StreamId::parse(b"", Some("studio")).unwrap();
    assert_eq!(taken, id(Mode::Publish, "studio", None, None));
    assert_eq!(StreamId::parse(b"", Some("..")), Err(BadStreamId::Name));
}

#[test]
fn a_token_is_never_printed() {
    let shown = format!("{:?}", parsed("#!::r=cam1,u=ann,s=hunter22").unwrap());
    assert!(
        !shown.contains("hunter22") && !shown.contains("ann"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_bytes_give_a_name_or_an_error(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(id) = StreamId::parse(&raw, None) {
            prop_assert!(name_is_valid(&id.name));
        }
    }

    #[test]
    fn near_misses_give_a_valid_name_or_an_error(
        raw in "(#!::|%23!::|publish:|read:|srt://h/)?([rmust]=|,|%2[ef]|[a-c./:%]){0,12}"
    ) {
        if let Ok(id) = parsed(&raw) {
            prop_assert!(name_is_valid(&id.name), "{}", id.name);
            let clean = |t: &Option<String>| t.iter().all(|t| t.bytes().all(|b| b >= 0x20));
            prop_assert!(clean(&id.user) && clean(&id.token));
        }
    }

    #[test]
    fn names_come_back_from_every_form(name in "[A-Za-z0-9_-]{1,20}(/[A-Za-z0-9._-]{3,20}){0,3}") {
        prop_assume!(name_is_valid(&name));
        for form in [
            name.clone(),
            format!("publish:{name}"),
            format!("#!::r={name},m=publish"),
            format!("%23!::m=publish,r={}", name.replace('/', "%2F")),
            format!("srt://host:9000/{name}?latency=1"),
        ] {
            prop_assert_eq!(&parsed(&form).unwrap().name, &name);
        }
    }
}
