//! `#[derive(State)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Error, Field, Fields, Ident, LitStr, Path, Result, Type};

/// One field of the struct, and the channel it is.
struct Channel<'a> {
    field: &'a Ident,
    ty: &'a Type,
    name: String,
    kind: Kind,
    docs: Vec<&'a Attribute>,
}

/// How writes to a channel are combined.
enum Kind {
    Last,
    Append,
    Sum,
    Max,
    Merge,
    Messages,
    Custom(String),
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(&input.generics, "a state has no parameters: it is stored"));
    }
    let engine = engine(&input.attrs)?;
    let channels = channels(input)?;
    let state = implementation(input, &engine, &channels);
    let update = update(input, &engine, &channels);
    Ok(quote! { #state #update })
}

fn engine(attributes: &[Attribute]) -> Result<Path> {
    let mut engine = syn::parse_quote!(::agentry_engine);
    for attribute in attributes.iter().filter(|it| it.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("on a struct there is only `crate = \"path\"`"));
            }
            engine = meta.value()?.parse::<LitStr>()?.parse()?;
            Ok(())
        })?;
    }
    Ok(engine)
}

fn channels(input: &DeriveInput) -> Result<Vec<Channel<'_>>> {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(_) | Data::Union(_) => {
            return Err(Error::new_spanned(&input.ident, "a state is a struct with named fields"));
        }
    };
    let Fields::Named(fields) = fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "a state has named fields: each is a channel",
        ));
    };
    fields.named.iter().filter_map(|field| Some(channel(field, field.ident.as_ref()?))).collect()
}

fn channel<'a>(field: &'a Field, ident: &'a Ident) -> Result<Channel<'a>> {
    let text = ident.to_string();
    let mut name = text.strip_prefix("r#").unwrap_or(&text).to_owned();
    let mut kind = None;
    for attribute in field.attrs.iter().filter(|it| it.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            let said = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let found = match said.as_str() {
                "channel" => {
                    name = meta.value()?.parse::<LitStr>()?.value();
                    return Ok(());
                }
                "last" => Kind::Last,
                "append" => Kind::Append,
                "sum" => Kind::Sum,
                "max" => Kind::Max,
                "merge" => Kind::Merge,
                "messages" => Kind::Messages,
                "reducer" => Kind::Custom(meta.value()?.parse::<LitStr>()?.value()),
                _ => {
                    return Err(meta.error(
                        "writes are combined by `last`, `append`, `sum`, `max`, `merge`, `messages` or \
                         `reducer = \"name\"`; `channel = \"name\"` gives the channel a name",
                    ));
                }
            };
            if kind.replace(found).is_some() {
                return Err(meta.error("a channel has one way to combine writes"));
            }
            Ok(())
        })?;
    }
    let docs = field.attrs.iter().filter(|it| it.path().is_ident("doc")).collect();
    Ok(Channel { field: ident, ty: &field.ty, name, kind: kind.unwrap_or(Kind::Last), docs })
}

fn implementation(input: &DeriveInput, engine: &Path, channels: &[Channel<'_>]) -> TokenStream {
    let (state, update) = (&input.ident, update_name(&input.ident));
    let fields: Vec<_> = channels.iter().map(|channel| channel.field).collect();
    let names: Vec<_> = channels.iter().map(|channel| &channel.name).collect();
    let reducers = channels.iter().map(|channel| match &channel.kind {
        Kind::Last => quote!(#engine::Reducer::Last),
        Kind::Append => quote!(#engine::Reducer::Append),
        Kind::Sum => quote!(#engine::Reducer::Sum),
        Kind::Max => quote!(#engine::Reducer::Max),
        Kind::Merge => quote!(#engine::Reducer::Merge),
        Kind::Messages => quote!(#engine::Reducer::Messages),
        Kind::Custom(name) => quote!(#engine::Reducer::Custom(::std::string::String::from(#name))),
    });
    quote! {
        impl #engine::typed::State for #state {
            type Update = #update;

            fn channels() -> ::std::vec::Vec<(&'static str, #engine::Reducer)> {
                ::std::vec![#((#names, #reducers)),*]
            }

            fn read(
                values: &#engine::typed::Values,
            ) -> ::std::result::Result<Self, #engine::typed::Problem> {
                ::std::result::Result::Ok(Self { #(#fields: #engine::typed::field(values, #names)?),* })
            }

            fn write(
                self,
            ) -> ::std::result::Result<#engine::typed::Values, #engine::typed::Problem> {
                let mut values = #engine::typed::Values::new();
                #(values.insert(
                    ::std::string::String::from(#names),
                    #engine::typed::value(#names, &self.#fields)?,
                );)*
                ::std::result::Result::Ok(values)
            }
        }
    }
}

fn update_name(state: &Ident) -> Ident {
    format_ident!("{}Update", state)
}

fn update(input: &DeriveInput, engine: &Path, channels: &[Channel<'_>]) -> TokenStream {
    let (state, update, visibility) = (&input.ident, update_name(&input.ident), &input.vis);
    let about = format!(
        "What a node changes of a [`{state}`]; channels that are not named stay as they are."
    );
    let methods = channels.iter().map(method);
    quote! {
        #[doc = #about]
        #[derive(Debug, Default)]
        #visibility struct #update(#engine::typed::Writes);

        impl #state {
            /// Changes nothing yet.
            #[must_use]
            #visibility fn update() -> #update {
                #update::default()
            }
        }

        impl #update {
            #(#methods)*
        }

        impl ::std::convert::From<#update> for #engine::typed::Writes {
            fn from(update: #update) -> Self {
                update.0
            }
        }
    }
}

fn method(channel: &Channel<'_>) -> TokenStream {
    let Channel { field, ty, name, kind, docs } = channel;
    let item = quote!(<#ty as ::std::iter::IntoIterator>::Item);
    let (takes, writes) = match kind {
        Kind::Append | Kind::Messages => (
            quote!(impl ::std::iter::IntoIterator<Item = impl ::std::convert::Into<#item>>),
            quote! {
                self.0.append(#name, value.into_iter().map(|item| -> #item {
                    ::std::convert::Into::into(item)
                }))
            },
        ),
        Kind::Merge => (quote!(#ty), quote!(self.0.merge(#name, &value))),
        Kind::Last | Kind::Sum | Kind::Max | Kind::Custom(_) => (
            quote!(impl ::std::convert::Into<#ty>),
            quote! {{
                let value: #ty = ::std::convert::Into::into(value);
                self.0.set(#name, &value)
            }},
        ),
    };
    quote! {
        #(#docs)*
        #[must_use]
        pub fn #field(self, value: #takes) -> Self {
            Self(#writes)
        }
    }
}
