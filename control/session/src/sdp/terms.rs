//! Owns what both sides of an offer and its answer agree on below the media: ICE and DTLS.

use super::candidate::Candidate;
use super::offer::{Offer, Transport};
use crate::dtls::fingerprint::Fingerprint;
use crate::refusal::SignalError;

/// The peer's side of the one transport.
#[derive(Clone, Debug)]
pub struct Terms {
    /// We open the DTLS handshake, because the peer wants to be the server.
    pub dtls_client: bool,
    /// The peer's username fragment and password.
    pub remote_ice: (String, String),
    /// One of these certificates is the peer's.
    pub fingerprints: Vec<Fingerprint>,
    /// Where it says that it is.
    pub candidates: Vec<Candidate>,
}

/// How the transport of an offer is read, or that of an answer to an offer of ours.
pub(super) type Reader = fn(&Offer, usize) -> Result<Terms, SignalError>;

impl Terms {
    /// Of a peer that has not said anything yet: nobody's certificate fits.
    pub(crate) fn unknown() -> Self {
        Self {
            dtls_client: false,
            remote_ice: <(String, String)>::default(),
            fingerprints: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Reads the transport of a section of an answer to an offer of ours, which we check: the peer
    /// may be lite.
    ///
    /// # Errors
    /// 422 for what we cannot do, or what would not be safe.
    pub(super) fn of_answer(answer: &Offer, section: usize) -> Result<Self, SignalError> {
        let terms = Self::of(answer, section)?;
        let setup = answer.medias.get(section);
        let setup = setup.and_then(|media| media.transport.setup.as_deref());
        //= https://www.rfc-editor.org/rfc/rfc5763#section-5
        //# The answerer MUST use either a
        //# setup attribute value of setup:active or setup:passive.
        match setup {
            Some("actpass") => Err(setup_unusable()),
            _ => Ok(terms),
        }
    }

    /// Reads the transport of a section of an offer of a server that we have called, which is
    /// answered: the peer may be lite, since we check, and the handshake is ours to open.
    ///
    /// # Errors
    /// 422 for what we cannot do, or what would not be safe.
    pub(super) fn of_counter(offer: &Offer, section: usize) -> Result<Self, SignalError> {
        let terms = Self::of(offer, section)?;
        let setup = offer.medias.get(section);
        let setup = setup.and_then(|media| media.transport.setup.as_deref());
        Ok(Self {
            dtls_client: setup != Some("active"),
            ..terms
        })
    }

    /// Reads the transport of a section, which stands for all of its group.
    ///
    /// # Errors
    /// 422 for what we cannot do, or what would not be safe.
    pub(super) fn read(offer: &Offer, section: usize) -> Result<Self, SignalError> {
        if offer.ice_lite {
            return Err(SignalError::unacceptable(
                "ice-lite-both",
                "The offer is from an ICE lite agent, and so are we: nobody would send checks.",
                "Offer with a full ICE agent.",
            ));
        }
        Self::of(offer, section)
    }

    fn of(offer: &Offer, section: usize) -> Result<Self, SignalError> {
        let Some(media) = offer.medias.get(section) else {
            return Err(SignalError::malformed("The offer has no media."));
        };
        if !media.rtcp_mux {
            return Err(SignalError::unacceptable(
                "rtcp-mux-missing",
                "The offer wants RTCP on a port of its own.",
                "Add a=rtcp-mux to every media section.",
            ));
        }
        let setup = media.transport.setup.as_deref();
        if !matches!(setup, None | Some("actpass" | "active" | "passive")) {
            return Err(setup_unusable());
        }
        Ok(Self {
            dtls_client: setup == Some("passive"),
            remote_ice: remote_ice(&media.transport)?,
            fingerprints: fingerprints(&media.transport)?,
            candidates: media.transport.candidates.clone(),
        })
    }
}

fn setup_unusable() -> SignalError {
    SignalError::unacceptable(
        "setup-unusable",
        "a=setup is none of actpass, active, passive, or no answer.",
        "Offer a=setup:actpass, or answer with active or passive.",
    )
}

fn remote_ice(transport: &Transport) -> Result<(String, String), SignalError> {
    match (&transport.ufrag, &transport.pwd) {
        (Some(ufrag), Some(pwd)) => Ok((ufrag.clone(), pwd.clone())),
        _ => Err(SignalError::unacceptable(
            "ice-credentials-missing",
            "The offer has no ice-ufrag or no ice-pwd.",
            "Offer with ICE.",
        )),
    }
}

//= https://www.rfc-editor.org/rfc/rfc8122#section-5
//# MUST NOT use the MD2 and MD5 hash functions to calculate fingerprints
//# or to verify received fingerprints
fn fingerprints(transport: &Transport) -> Result<Vec<Fingerprint>, SignalError> {
    if transport.fingerprints.is_empty() {
        return Err(SignalError::unacceptable(
            "fingerprint-missing",
            "The offer has no fingerprint, so its certificate could not be told from any other.",
            "Offer DTLS-SRTP with a=fingerprint:sha-256.",
        ));
    }
    let strong: Vec<_> = transport
        .fingerprints
        .iter()
        .take(8)
        .filter_map(|text| Fingerprint::parse(text))
        .collect();
    if strong.is_empty() {
        return Err(SignalError::unacceptable(
            "fingerprint-weak",
            "No fingerprint is a well-formed sha-256, sha-384 or sha-512.",
            "Offer a=fingerprint:sha-256.",
        ));
    }
    Ok(strong)
}
