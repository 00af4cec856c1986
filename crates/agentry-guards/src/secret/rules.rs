//! The rules: keywords that lead to a place, a pattern that is tried there, a check of what it matched.

use super::entropy;
use crate::hay::{Hay, is_word};

pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Without regard to case; the pattern begins where the keyword does.
    pub(super) keywords: &'static [&'static str],
    pub(super) pattern: &'static str,
    pub(super) check: Check,
}

/// What makes a match a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// It stands alone and is no placeholder.
    Shape,
    /// Also, it looks random.
    Random,
    /// The value of `name = value` looks random.
    Assigned,
    /// The password of `://user:password@host` is no placeholder.
    Login,
    /// Nothing.
    Block,
}

const fn shape(
    name: &'static str,
    keywords: &'static [&'static str],
    pattern: &'static str,
) -> Rule {
    Rule { name, keywords, pattern, check: Check::Shape }
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "private_key",
        keywords: &["-----BEGIN"],
        pattern: concat!(
            r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----",
            r"(?:(?:\s|\\[nr])*[A-Z][A-Za-z-]{2,20}: [^\r\n]{0,80})*",
            r"(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{16,})*",
            r"(?:(?:\s|\\[nr])*=?[A-Za-z0-9+/=]{0,15}(?:\s|\\[nr])*-----END[ A-Z0-9]{0,48}-----)?",
        ),
        check: Check::Block,
    },
    shape("anthropic", &["sk-ant-"], r"sk-ant-[a-z0-9]{2,12}-[A-Za-z0-9_-]{20,200}"),
    shape("openrouter", &["sk-or-"], r"sk-or-v1-[0-9a-f]{64}"),
    Rule {
        name: "openai",
        keywords: &["sk-"],
        pattern: r"sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,220}|[A-Za-z0-9]{32,64})",
        check: Check::Random,
    },
    Rule {
        name: "aws_access_key",
        keywords: &["AKIA", "ASIA", "ABIA", "ACCA"],
        pattern: r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
        check: Check::Random,
    },
    shape("github", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    shape("github", &["github_pat_"], r"github_pat_[A-Za-z0-9_]{40,120}"),
    shape(
        "gitlab",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"],
        r"gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{20,64}",
    ),
    Rule {
        name: "google",
        keywords: &["AIza"],
        pattern: r"AIza[A-Za-z0-9_-]{35}",
        check: Check::Random,
    },
    shape("google_oauth", &["GOCSPX-"], r"GOCSPX-[A-Za-z0-9_-]{28}"),
    shape("google_oauth", &["ya29."], r"ya29\.[A-Za-z0-9_-]{20,400}"),
    shape("slack", &["xox"], r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    shape("slack", &["xapp-"], r"xapp-[0-9]-[A-Z0-9]{5,20}-[0-9]{5,20}-[a-f0-9]{32,80}"),
    shape(
        "slack_webhook",
        &["hooks.slack.com/services/"],
        r"hooks\.slack\.com/services/T[A-Za-z0-9_]{6,14}/B[A-Za-z0-9_]{6,14}/[A-Za-z0-9_]{18,32}",
    ),
    shape(
        "stripe",
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_"],
        r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}",
    ),
    shape("stripe_webhook", &["whsec_"], r"whsec_[A-Za-z0-9+/=]{24,80}"),
    shape("sendgrid", &["SG."], r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}"),
    shape("npm", &["npm_"], r"npm_[A-Za-z0-9]{36}"),
    shape("pypi", &["pypi-"], r"pypi-AgEI[A-Za-z0-9_-]{50,400}"),
    shape("huggingface", &["hf_"], r"hf_[A-Za-z0-9]{34,40}"),
    shape("groq", &["gsk_"], r"gsk_[A-Za-z0-9]{40,64}"),
    shape("digitalocean", &["dop_v1_", "doo_v1_", "dor_v1_"], r"do[opr]_v1_[a-f0-9]{64}"),
    shape("databricks", &["dapi"], r"dapi[a-f0-9]{32}"),
    shape("vault", &["hvs.", "hvb."], r"hv[sb]\.[A-Za-z0-9_-]{24,300}"),
    shape(
        "shopify",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}",
    ),
    shape("linear", &["lin_api_"], r"lin_api_[A-Za-z0-9]{32,48}"),
    shape("age", &["AGE-SECRET-KEY-1"], r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    shape("jwt", &["eyJ"], r"eyJ[A-Za-z0-9_-]{8,400}\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"),
    Rule {
        name: "login",
        keywords: &["://"],
        pattern: r#"://[^\s:/@"'<>]{0,64}:[^\s/@"'<>]{3,128}@"#,
        check: Check::Login,
    },
    Rule {
        name: "assigned",
        keywords: &["key", "secret", "token", "passw", "pwd", "credential"],
        pattern: concat!(
            r"(?i)(?:key|secret|token|passw(?:or)?d|pwd|credentials?)[a-z0-9_-]{0,16}",
            r#"\\?["']?[ \t]{0,2}(?:=|:|:=|=>)[ \t]{0,2}\\?["']?[a-z0-9_./+=~!@#$%^&*-]{8,200}"#,
        ),
        check: Check::Assigned,
    },
];

impl Check {
    /// The stretch that is the secret, if it is one.
    pub(super) fn passes(self, hay: Hay<'_>, start: usize, end: usize) -> Option<(usize, usize)> {
        let text = hay.str(start..end);
        match self {
            Self::Block => Some((start, end)),
            Self::Shape => {
                (!is_word(hay.at(end)) && !entropy::is_placeholder(text)).then_some((start, end))
            }
            Self::Random => {
                let random = entropy::bits(text) >= 3.0 && !entropy::is_placeholder(text);
                (random && !is_word(hay.at(end))).then_some((start, end))
            }
            Self::Login => {
                let password = text.get(3..)?.split_once(':')?.1.strip_suffix('@')?;
                let from = end - 1 - password.len();
                (!entropy::is_placeholder(password)).then_some((from, end - 1))
            }
            Self::Assigned => assigned(hay, start, end),
        }
    }
}

/// The value of an assignment, without quotes and what ends the sentence.
fn assigned(hay: Hay<'_>, start: usize, end: usize) -> Option<(usize, usize)> {
    let text = hay.str(start..end);
    let name = text.find(['=', ':'])?;
    let is_sign = |c: char| matches!(c, '=' | ':' | '>' | ' ' | '\t' | '"' | '\'' | '\\');
    let value = text.get(name..)?.trim_start_matches(is_sign);
    let from = end - value.len();
    let value = value.trim_end_matches(['.', '!', '&', '*']);
    let name = text.get(..name)?.to_ascii_lowercase();
    let is_password = name.starts_with("passw") || name.starts_with("pwd");
    let secret = if is_password { entropy::is_password(value) } else { entropy::is_key(value) };
    secret.then_some((from, from + value.len()))
}
