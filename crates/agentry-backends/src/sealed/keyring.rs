//! Keys, and what is sealed with them.

use std::fmt;

use agentry_core::store::Error;
use agentry_core::{Code, Failure, Fault, Retry};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};

use super::unreadable;

/// How every sealed value begins; then the key's id, a colon and base64 of nonce and sealed text.
const MARK: &str = "~sealed:1:";
const NO_KEY: &str = "it does not name its key";
/// So much longer are bytes when they are sealed, at most.
pub(super) const SEAL_BYTES: usize = 64;
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
/// How many keys there may be at once.
const KEYS_MAX: usize = 16;

/// Keys by which values are sealed (the first) and read (all).
pub struct Keyring {
    writing: Key,
    others: Vec<Key>,
    random: SystemRandom,
}

struct Key {
    id: String,
    root: hmac::Key,
}

/// Why keys cannot be used. None of them shows a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "encryption key {0} is not 32 bytes in base64; make one with `openssl rand -base64 32`"
    )]
    Malformed(usize),
    #[error("encryption key {0} is there twice")]
    Twice(usize),
    #[error("there is no encryption key, or there are more than 16")]
    Number,
    #[error(
        "the database holds values that are encrypted with key {0}; set `[storage] encryption_key` to that key"
    )]
    Missing(String),
    #[error(
        "the database was last written with key {written}, which is not among those of `[storage] encryption_key` ({given}); add it behind the first one"
    )]
    Other { written: String, given: String },
}

impl Failure for KeyError {
    fn code(&self) -> Code {
        Code("encryption_key_unfit")
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Key {
    fn parse(secret: &SecretString, number: usize) -> Result<Self, KeyError> {
        let text = secret.expose_secret().trim();
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let bytes = bytes.ok().filter(|bytes| bytes.len() == KEY_BYTES);
        let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes.ok_or(KeyError::Malformed(number))?);
        let id = hmac::sign(&root, b"agentry key id");
        let id = id.as_ref().get(..ID_BYTES).unwrap_or_default();
        Ok(Self { id: id.iter().map(|byte| format!("{byte:02x}")).collect(), root })
    }

    fn derive(&self, purpose: &[u8], owner: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.root);
        context.update(purpose);
        context.update(&[0]);
        context.update(owner);
        context.sign()
    }

    fn cipher(&self, owner: &[u8]) -> Result<LessSafeKey, Error> {
        let key = UnboundKey::new(&AES_256_GCM, self.derive(b"agentry values", owner).as_ref());
        key.map(LessSafeKey::new).map_err(unreadable)
    }
}

impl Keyring {
    /// The first writes, all read. Each is 32 bytes in base64.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, KeyError> {
        if secrets.is_empty() || secrets.len() > KEYS_MAX {
            return Err(KeyError::Number);
        }
        let mut keys: Vec<Key> = Vec::with_capacity(secrets.len());
        for (index, secret) in secrets.iter().enumerate() {
            let key = Key::parse(secret, index + 1)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(KeyError::Twice(index + 1));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let writing = keys.next().ok_or(KeyError::Number)?;
        Ok(Self { writing, others: keys.collect(), random: SystemRandom::new() })
    }

    /// Of the key that writes; says nothing about the key.
    #[must_use]
    pub fn writes_with(&self) -> &str {
        &self.writing.id
    }

    /// Of all keys, the one that writes first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all().map(|key| key.id.as_str())
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.writing).chain(&self.others)
    }

    pub(super) fn safe(&self, owner: Vec<u8>) -> Result<Safe<'_>, Error> {
        Ok(Safe { cipher: self.writing.cipher(&owner)?, ring: self, owner, origins: Vec::new() })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// Where the values of one owner are sealed and read.
pub(super) struct Safe<'a> {
    ring: &'a Keyring,
    owner: Vec<u8>,
    /// Others whose values this one has copies of.
    origins: Vec<Vec<u8>>,
    /// Of the key that writes.
    cipher: LessSafeKey,
}

impl Safe<'_> {
    pub(super) fn with_origins(mut self, origins: Vec<Vec<u8>>) -> Self {
        self.origins = origins;
        self
    }

    /// A value that nobody can tell from the next one of the same length.
    pub(super) fn seal(&self, place: &str, plain: Vec<u8>) -> Result<String, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.ring.random.fill(&mut nonce).map_err(|_| no_chance())?;
        self.close(place, nonce, plain)
    }

    /// The same value in the same place is sealed to the same text, so that a store may keep it once.
    pub(super) fn seal_alike(&self, place: &str, plain: Vec<u8>) -> Result<String, Error> {
        let key = self.ring.writing.derive(b"agentry nonces", &self.owner);
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
        context.update(place.as_bytes());
        context.update(&[0]);
        context.update(&plain);
        let mut nonce = [0; NONCE_LEN];
        for (byte, of) in nonce.iter_mut().zip(context.sign().as_ref()) {
            *byte = *of;
        }
        self.close(place, nonce, plain)
    }

    /// As [`seal`](Self::seal), where it need not be a text.
    pub(super) fn seal_bytes(&self, place: &str, plain: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.ring.random.fill(&mut nonce).map_err(|_| no_chance())?;
        let sealed = self.encrypt(place, nonce, plain)?;
        let mut out = Vec::with_capacity(sealed.len() + SEAL_BYTES);
        out.extend(MARK.as_bytes());
        out.extend(self.ring.writing.id.as_bytes());
        out.push(b':');
        out.extend(sealed);
        Ok(out)
    }

    fn close(&self, place: &str, nonce: [u8; NONCE_LEN], plain: Vec<u8>) -> Result<String, Error> {
        let bytes = self.encrypt(place, nonce, plain)?;
        let id = &self.ring.writing.id;
        let mut out = String::with_capacity(MARK.len() + id.len() + 1 + bytes.len() * 4 / 3 + 3);
        out.push_str(MARK);
        out.push_str(id);
        out.push(':');
        STANDARD_NO_PAD.encode_string(&bytes, &mut out);
        Ok(out)
    }

    fn encrypt(
        &self,
        place: &str,
        nonce: [u8; NONCE_LEN],
        plain: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        bytes.extend(nonce);
        bytes.extend(plain);
        let (_, text) = bytes.split_at_mut(NONCE_LEN);
        let aad = Aad::from(place.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag =
            self.cipher.seal_in_place_separate_tag(nonce, aad, text).map_err(|_| no_chance())?;
        bytes.extend(tag.as_ref());
        Ok(bytes)
    }

    /// What was sealed as `text` in that place; `None` when it is not sealed at all.
    pub(super) fn open(&self, place: &str, text: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(rest) = text.strip_prefix(MARK) else { return Ok(None) };
        let (id, sealed) = rest.split_once(':').ok_or_else(|| unreadable(NO_KEY))?;
        let sealed = STANDARD_NO_PAD.decode(sealed).map_err(unreadable)?;
        self.opened(place, (id, sealed)).map(Some)
    }

    /// The same of bytes.
    pub(super) fn open_bytes(&self, place: &str, bytes: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(rest) = bytes.strip_prefix(MARK.as_bytes()) else { return Ok(None) };
        let (id, sealed) = rest.split_at_checked(2 * ID_BYTES).ok_or_else(|| unreadable(NO_KEY))?;
        let id = str::from_utf8(id).map_err(unreadable)?;
        let sealed = sealed.strip_prefix(b":").ok_or_else(|| unreadable(NO_KEY))?;
        self.opened(place, (id, sealed.to_vec())).map(Some)
    }

    fn opened(&self, place: &str, (id, sealed): (&str, Vec<u8>)) -> Result<Vec<u8>, Error> {
        let key = self.ring.all().find(|key| key.id == id).ok_or_else(|| {
            unreadable(format!(
                "it needs key {id}; add that key to `[storage] encryption_key`, behind the first one"
            ))
        })?;
        if id == self.ring.writing.id
            && let Some(plain) = opened(&self.cipher, place, &sealed)?
        {
            return Ok(plain);
        }
        for owner in std::iter::once(&self.owner).chain(&self.origins) {
            if let Some(plain) = opened(&key.cipher(owner)?, place, &sealed)? {
                return Ok(plain);
            }
        }
        Err(unreadable(
            "it was not sealed here, or somebody has changed it; restore it from a backup",
        ))
    }

    /// A name that tells two names apart and tells neither.
    pub(super) fn pseudonym(&self, place: &str, name: &str) -> String {
        let key = self.ring.writing.derive(b"agentry names", &self.owner);
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()));
        context.update(place.as_bytes());
        context.update(&[0]);
        context.update(name.as_bytes());
        STANDARD_NO_PAD.encode(context.sign().as_ref().get(..16).unwrap_or_default())
    }
}

/// `None` when it was not sealed with this key in this place.
fn opened(cipher: &LessSafeKey, place: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = sealed.to_vec();
    let Some((nonce, text)) = bytes.split_at_mut_checked(NONCE_LEN) else {
        return Err(unreadable("it is cut off"));
    };
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(unreadable)?;
    let opened = cipher.open_in_place(nonce, Aad::from(place.as_bytes()), text);
    let Ok(length) = opened.map(|plain| plain.len()) else { return Ok(None) };
    bytes.drain(..NONCE_LEN);
    bytes.truncate(length);
    Ok(Some(bytes))
}

pub(super) fn is_sealed(text: &str) -> bool {
    text.starts_with(MARK)
}

fn no_chance() -> Error {
    Error::Unavailable("the system gives no random numbers".to_owned())
}
