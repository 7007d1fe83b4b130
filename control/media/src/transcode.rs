//! Owns AAC to Opus: decode, resample to 48 kHz, make stereo, keep the sample clock, encode.

use crate::aac::{AacConfig, FRAME_SAMPLES};
use crate::clock::SAMPLES_HZ;
use crate::num::signed_len;
use opus_pure::{Application, OpusEncoder};
use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler};
use symphonia_codec_aac::AacDecoder;
use symphonia_core::audio::{Channels, Position};
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

/// Samples of an Opus packet: 20 ms, what every browser expects by default.
pub(crate) const OPUS_SAMPLES: usize = 960;

/// Half of the encoder's best effort: inaudible here, and twice as fast.
const COMPLEXITY: i32 = 5;

/// A stamp further than this from the sample clock is a gap: the clock is set anew.
const GAP_SAMPLES: i64 = SAMPLES_HZ / 10;

/// The sample clock is moved, one sample a frame, once stamps are this far off on average: 5 ms.
const DRIFT_SAMPLES: i64 = 240;

/// Moving ends when stamps are this near on average: 1 ms.
const SETTLED_SAMPLES: i64 = 48;

/// Frames over which the distance from stamps is averaged.
const AVERAGE_FRAMES: i64 = 32;

/// Transcodes one audio stream of one configuration.
pub(crate) struct Transcoder {
    config: AacConfig,
    decoder: AacDecoder,
    resampler: Option<Fft<f32>>,
    encoder: OpusEncoder,
    decoded: Vec<Vec<f32>>,
    resampled: Vec<Vec<f32>>,
    /// Stereo samples, interleaved, that wait to fill an Opus packet.
    waiting: Vec<f32>,
    clock: SampleClock,
    /// Samples that the chain delays what it is given: resampler and encoder.
    delay: i64,
}

impl core::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Transcoder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Transcoder {
    /// A transcoder for this configuration, encoding at `bitrate` bit/s. The error says what is
    /// not supported.
    pub(crate) fn new(config: AacConfig, bitrate: u32) -> Result<Self, &'static str> {
        let mut encoder = OpusEncoder::new(48_000, 2, Application::Audio)
            .map_err(|_| "the Opus encoder refuses stereo at 48 kHz")?;
        encoder.bitrate_bps = i32::try_from(bitrate.clamp(6_000, 510_000)).unwrap_or(128_000);
        encoder.complexity = COMPLEXITY;
        let rate = usize::try_from(config.rate).unwrap_or(0);
        let channels = usize::from(config.channels);
        let resampler = match config.rate {
            48_000 => None,
            _ => Some(
                Fft::new(rate, 48_000, FRAME_SAMPLES, channels, FixedSync::Input)
                    .map_err(|_| "AAC sampling frequency")?,
            ),
        };
        let resampled = resampler.as_ref().map_or(0, Resampler::output_frames_max);
        let delay = resampler.as_ref().map_or(0, Resampler::output_delay) + encoder.lookahead();
        Ok(Self {
            decoder: new_decoder(config).map_err(|_| "a form of AAC")?,
            resampler,
            encoder,
            decoded: Vec::new(),
            resampled: vec![vec![0.0; resampled]; channels],
            waiting: Vec::new(),
            clock: SampleClock::new(config.rate),
            delay: signed_len(delay),
            config,
        })
    }

    /// What this transcoder was made for.
    pub(crate) const fn config(&self) -> AacConfig {
        self.config
    }

    /// Takes a raw AAC frame; `at` is its place on the timeline in 48 kHz samples, if it has a
    /// stamp. False: it could not be decoded; silence takes its place.
    pub(crate) fn push(&mut self, at: Option<i64>, payload: &[u8]) -> bool {
        let slip = match at.map_or(Correction::Slip(0), |at| self.clock.correct(at)) {
            Correction::Slip(samples) => samples,
            Correction::Restart => {
                self.waiting.clear();
                if let Some(resampler) = &mut self.resampler {
                    resampler.reset();
                }
                0
            }
        };
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, payload);
        let decoded = match self.decoder.decode_ref(&packet) {
            Ok(buffer) => {
                buffer.copy_to_vecs_planar(&mut self.decoded);
                true
            }
            Err(_) => false,
        };
        let channels = usize::from(self.config.channels);
        if !decoded || self.decoded.len() != channels {
            self.decoded = vec![vec![0.0; FRAME_SAMPLES]; channels];
        }
        self.decoded
            .iter_mut()
            .for_each(|plane| plane.resize(FRAME_SAMPLES, 0.0));
        self.clock.advance();
        self.append(slip);
        decoded
    }

    /// The next whole Opus packet into `out`: its place on the timeline in 48 kHz samples, and
    /// its bytes.
    pub(crate) fn poll(&mut self, out: &mut [u8]) -> Option<(i64, usize)> {
        let samples = 2 * OPUS_SAMPLES;
        let input = self.waiting.get(..samples)?;
        let waiting = signed_len(self.waiting.len() / 2);
        let at = self.clock.made - waiting - self.delay;
        let bytes = self.encoder.encode(input, OPUS_SAMPLES, out);
        self.waiting.drain(..samples);
        bytes.ok().map(|bytes| (at, bytes))
    }

    /// Resamples what was decoded and appends it as stereo.
    fn append(&mut self, slip: i64) {
        let channels = usize::from(self.config.channels);
        let mut planes = &self.decoded;
        let mut frames = FRAME_SAMPLES;
        if let Some(resampler) = &mut self.resampler {
            let room = self.resampled[0].len();
            let input = SequentialSliceOfVecs::new(&self.decoded, channels, FRAME_SAMPLES);
            let output = SequentialSliceOfVecs::new_mut(&mut self.resampled, channels, room);
            let (Ok(input), Ok(mut output)) = (input, output) else {
                return;
            };
            frames = resampler
                .process_into_buffer(&input, &mut output, None)
                .map_or(0, |(_, n)| n);
            planes = &self.resampled;
        }
        let (left, right) = (&planes[0], planes.last().unwrap_or(&planes[0]));
        for (left, right) in left.iter().zip(right).take(frames) {
            self.waiting.extend([*left, *right]);
        }
        self.clock.made += signed_len(frames);
        if slip > 0
            && let &[.., left, right] = self.waiting.as_slice()
        {
            self.waiting.extend([left, right]);
            self.clock.made += 1;
        } else if slip < 0 && self.waiting.len() >= 2 {
            self.waiting.truncate(self.waiting.len() - 2);
            self.clock.made -= 1;
        }
    }
}

fn new_decoder(config: AacConfig) -> symphonia_core::errors::Result<AacDecoder> {
    let mut parameters = AudioCodecParameters::new();
    let positions = match config.channels {
        1 => Position::FRONT_LEFT,
        _ => Position::FRONT_LEFT | Position::FRONT_RIGHT,
    };
    parameters
        .for_codec(CODEC_ID_AAC)
        .with_sample_rate(config.rate)
        .with_channels(Channels::Positioned(positions));
    AacDecoder::try_new(&parameters, &AudioDecoderOptions::default())
}

/// What a stamp asks of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Correction {
    /// Nothing, or one sample more (1) or less (-1).
    Slip(i64),
    /// There is a gap: begin anew at the stamp.
    Restart,
}

/// Counts samples, and holds the count against stamps.
#[derive(Debug)]
struct SampleClock {
    rate: i64,
    /// Place of the first sample counted.
    begin: Option<i64>,
    /// Input samples since.
    input: i64,
    /// Place after the last sample that came out of the resampler.
    made: i64,
    /// Average distance of stamps from the count, times [`AVERAGE_FRAMES`].
    off_sum: i64,
    slipping: bool,
}

impl SampleClock {
    fn new(rate: u32) -> Self {
        let rate = i64::from(rate.max(1));
        Self {
            rate,
            begin: None,
            input: 0,
            made: 0,
            off_sum: 0,
            slipping: false,
        }
    }

    /// Holds the next frame's stamp against the count.
    fn correct(&mut self, at: i64) -> Correction {
        let counted = self
            .begin
            .map(|begin| begin + self.input * SAMPLES_HZ / self.rate);
        let Some(off) = counted
            .map(|counted| at - counted)
            .filter(|off| off.abs() <= GAP_SAMPLES)
        else {
            (self.begin, self.input, self.made) = (Some(at), 0, at);
            (self.off_sum, self.slipping) = (0, false);
            return Correction::Restart;
        };
        self.off_sum += off - self.off_sum / AVERAGE_FRAMES;
        let average = self.off_sum / AVERAGE_FRAMES;
        self.slipping = average.abs()
            > if self.slipping {
                SETTLED_SAMPLES
            } else {
                DRIFT_SAMPLES
            };
        if !self.slipping {
            return Correction::Slip(0);
        }
        let slip = average.signum();
        self.begin = self.begin.map(|begin| begin + slip);
        self.off_sum -= slip * AVERAGE_FRAMES;
        Correction::Slip(slip)
    }

    /// Counts a frame.
    fn advance(&mut self) {
        self.input += signed_len(FRAME_SAMPLES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_ignored_drift_followed_gaps_set_anew() {
        let mut clock = SampleClock::new(48_000);
        assert_eq!(clock.correct(1000), Correction::Restart);
        let mut slipped = 0;
        for n in 1..2000 {
            clock.advance();
            let jitter = n * 7 % 41 - 20;
            assert_eq!(clock.correct(1000 + n * 1024 + jitter), Correction::Slip(0));
        }
        // Stamps run 200 ppm fast: after 5 ms the samples follow, and keep up.
        for n in 2000..20_000 {
            clock.advance();
            let drift = (n - 2000) * 1024 / 5000;
            match clock.correct(1000 + n * 1024 + drift) {
                Correction::Slip(samples) => slipped += samples,
                Correction::Restart => panic!("drift is no gap, frame {n}"),
            }
            assert!(
                (drift - slipped).abs() <= DRIFT_SAMPLES + 20,
                "{drift} {slipped}"
            );
        }
        assert!(slipped > 3000);
        clock.advance();
        assert_eq!(clock.correct(0), Correction::Restart);
    }

    #[test]
    fn undecodable_frames_become_silence_at_the_right_places() {
        for rate in [48_000, 44_100, 24_000] {
            let config = AacConfig {
                rate,
                channels: 1,
                sbr: false,
            };
            let mut transcoder = Transcoder::new(config, 128_000).unwrap();
            let (mut out, mut places) = ([0; 1500], Vec::new());
            for n in 0..50 {
                assert!(!transcoder.push((n == 0).then_some(5000), &[0x40; 20]));
                while let Some((at, bytes)) = transcoder.poll(&mut out) {
                    assert!(bytes > 0);
                    places.push(at);
                }
            }
            assert!((4000..5000).contains(&places[0]), "{}", places[0]);
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] == 960));
            let samples = i64::from(50 * 1024 * 48) * 1000 / i64::from(rate);
            assert!(
                (signed_len(places.len() * 960) - samples).abs() < 2 * 960 + 640,
                "{rate}"
            );
        }
    }
}
