//! What can be found.

/// A kind of finding. The order is the priority: of two equally long findings at one place the earlier kind wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pattern of the operator's own.
    Deny,
    Secret,
    CreditCard,
    Iban,
    Btc,
    Email,
    UsSsn,
    UsItin,
    DeTaxId,
    InAadhaar,
    PlPesel,
    TrKimlik,
    FiHetu,
    SePersonnummer,
    EsNif,
    UkNino,
    UkNhs,
    UsRouting,
    Ip,
    Phone,
    Url,
    /// An attempt to give the model other instructions.
    Injection,
}

impl Kind {
    pub const ALL: [Self; 22] = [
        Self::Deny,
        Self::Secret,
        Self::CreditCard,
        Self::Iban,
        Self::Btc,
        Self::Email,
        Self::UsSsn,
        Self::UsItin,
        Self::DeTaxId,
        Self::InAadhaar,
        Self::PlPesel,
        Self::TrKimlik,
        Self::FiHetu,
        Self::SePersonnummer,
        Self::EsNif,
        Self::UkNino,
        Self::UkNhs,
        Self::UsRouting,
        Self::Ip,
        Self::Phone,
        Self::Url,
        Self::Injection,
    ];

    /// The name in the configuration and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// What stands in the place of a redacted finding, without the brackets.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.names().1
    }

    /// Whether it is a kind of personal data.
    #[must_use]
    pub fn is_personal(self) -> bool {
        !matches!(self, Self::Deny | Self::Secret | Self::Injection)
    }

    /// The kinds of personal data that `pii` alone turns on.
    #[must_use]
    pub fn is_default(self) -> bool {
        matches!(
            self,
            Self::Email | Self::Phone | Self::CreditCard | Self::Iban | Self::UsSsn | Self::Ip
        )
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Deny => ("deny", "DENIED"),
            Self::Secret => ("secret", "SECRET"),
            Self::CreditCard => ("credit_card", "CREDIT_CARD"),
            Self::Iban => ("iban", "IBAN"),
            Self::Btc => ("btc", "BTC"),
            Self::Email => ("email", "EMAIL"),
            Self::UsSsn => ("us_ssn", "US_SSN"),
            Self::UsItin => ("us_itin", "US_ITIN"),
            Self::DeTaxId => ("de_tax_id", "DE_TAX_ID"),
            Self::InAadhaar => ("in_aadhaar", "IN_AADHAAR"),
            Self::PlPesel => ("pl_pesel", "PL_PESEL"),
            Self::TrKimlik => ("tr_kimlik", "TR_KIMLIK"),
            Self::FiHetu => ("fi_hetu", "FI_HETU"),
            Self::SePersonnummer => ("se_personnummer", "SE_PERSONNUMMER"),
            Self::EsNif => ("es_nif", "ES_NIF"),
            Self::UkNino => ("uk_nino", "UK_NINO"),
            Self::UkNhs => ("uk_nhs", "UK_NHS"),
            Self::UsRouting => ("us_routing", "US_ROUTING"),
            Self::Ip => ("ip", "IP"),
            Self::Phone => ("phone", "PHONE"),
            Self::Url => ("url", "URL"),
            Self::Injection => ("injection", "INJECTION"),
        }
    }

    /// Where it stands in a table of all kinds.
    pub(crate) fn slot(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
