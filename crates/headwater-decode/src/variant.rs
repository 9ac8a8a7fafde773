//! JSON to the binary form of a variant.

use headwater_connect::json_scan::{ScanError, colon_end, skip_space, value_end_python};
use parquet_variant::{
    ObjectFieldBuilder, Variant, VariantBuilder, VariantBuilderExt, VariantDecimal4, VariantDecimal8,
    VariantDecimal16,
};

use crate::number::is_float;
use crate::text;

/// Why a value cannot be encoded.
#[derive(Debug)]
pub(crate) enum VariantError {
    Syntax(ScanError),
    Encoding(arrow_schema::ArrowError),
}

impl From<ScanError> for VariantError {
    fn from(error: ScanError) -> Self {
        VariantError::Syntax(error)
    }
}

impl From<arrow_schema::ArrowError> for VariantError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        VariantError::Encoding(error)
    }
}

/// Encodes a whole JSON document (with Python's names for numbers that JSON lacks): metadata and value.
pub(crate) fn encode(json: &str) -> Result<(Vec<u8>, Vec<u8>), VariantError> {
    let body = json.as_bytes();
    let at = skip_space(body, 0);
    // The check bounds the depth of the recursion below.
    let end = skip_space(body, value_end_python(body, at)?);
    if end != body.len() {
        return Err(ScanError::new(end, "something stands behind the value").into());
    }
    let mut builder = VariantBuilder::new();
    append(body, at, &mut builder)?;
    let (mut metadata, value) = builder.try_finish()?;
    // The flag for sorted names is optional, and the reference does not set it.
    if let Some(header) = metadata.first_mut() {
        *header &= !0x10;
    }
    Ok((metadata, value))
}

fn append(body: &[u8], at: usize, builder: &mut impl VariantBuilderExt) -> Result<usize, VariantError> {
    match body.get(at) {
        Some(b'"') => {
            let (text, end) = text::read(body, at)?;
            builder.append_value(text.as_ref());
            Ok(end)
        }
        Some(b'[') => {
            let mut list = builder.try_new_list()?;
            let mut at = skip_space(body, at + 1);
            while body.get(at) != Some(&b']') {
                if body.get(at) == Some(&b',') {
                    at = skip_space(body, at + 1);
                }
                at = skip_space(body, append(body, at, &mut list)?);
            }
            list.finish();
            Ok(at + 1)
        }
        Some(b'{') => {
            let mut object = builder.try_new_object()?;
            let mut at = skip_space(body, at + 1);
            while body.get(at) != Some(&b'}') {
                if body.get(at) == Some(&b',') {
                    at = skip_space(body, at + 1);
                }
                let (key, end) = text::read(body, at)?;
                let value = colon_end(body, end)?;
                let mut member = ObjectFieldBuilder::new(&key, &mut object);
                at = skip_space(body, append(body, value, &mut member)?);
            }
            object.finish();
            Ok(at + 1)
        }
        _ => {
            let end = value_end_python(body, at)?;
            let token = body.get(at..end).and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or_default();
            match token {
                "true" => builder.append_value(true),
                "false" => builder.append_value(false),
                "null" => builder.append_value(Variant::Null),
                number => builder.append_value(number_value(number)),
            }
            Ok(end)
        }
    }
}

/// The smallest integer or exact decimal that holds the number as written; a double for exponents and beyond 38 digits.
fn number_value(token: &str) -> Variant<'static, 'static> {
    if let Ok(value) = token.parse::<i64>() {
        return if let Ok(value) = i8::try_from(value) {
            value.into()
        } else if let Ok(value) = i16::try_from(value) {
            value.into()
        } else if let Ok(value) = i32::try_from(value) {
            value.into()
        } else {
            value.into()
        };
    }
    let double = || Variant::from(token.parse::<f64>().unwrap_or(f64::NAN));
    if is_float(token) && !token.contains('.') || token.contains(['e', 'E']) {
        return double();
    }
    let scale = token.split_once('.').map_or(0, |(_, behind)| behind.len());
    match (token.replace('.', "").parse::<i128>(), u8::try_from(scale)) {
        (Ok(digits), Ok(scale)) => decimal_value(digits, scale).unwrap_or_else(double),
        _ => double(),
    }
}

fn decimal_value(digits: i128, scale: u8) -> Option<Variant<'static, 'static>> {
    let small = i32::try_from(digits).ok().and_then(|digits| VariantDecimal4::try_new(digits, scale).ok());
    let medium = i64::try_from(digits).ok().and_then(|digits| VariantDecimal8::try_new(digits, scale).ok());
    let large = VariantDecimal16::try_new(digits, scale).ok();
    small.map(Variant::from).or(medium.map(Variant::from)).or(large.map(Variant::from))
}
