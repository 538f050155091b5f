//! A JSON request body, refused with the name of every member that is wrong.

use std::sync::Arc;

use poem::{Request, RequestBody, error::ReadBodyError, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::ParseFromJSON,
};
use serde_json::Value;

use crate::{
    api::{refused::Refused, schema::Schemas},
    error::Error,
};

/// Bytes that a request body may have.
pub const MAX_BYTES: usize = 64 * 1024;

/// A request body of type `T`, and its size in bytes.
#[derive(Debug)]
pub struct Body<T> {
    pub value: T,
    pub bytes: usize,
}

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        read(request, body, is_json).await
    }
}

/// The same of a documented system whose clients call it `text/json`, too.
#[derive(Debug)]
pub struct ForeignBody<T>(pub T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for ForeignBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let media = |content_type| MetaMediaType {
            content_type,
            schema: T::schema_ref(),
        };
        Some(MetaRequest {
            description: None,
            content: vec![
                media("application/json-patch+json"),
                media("application/json"),
                media("text/json"),
                media("application/*+json"),
            ],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let is_media = |media: &str| essence(media) == "text/json" || is_json(media);
        Ok(Self(read(request, body, is_media).await?.value))
    }
}

/// A request body that may be left out, for all defaults.
#[derive(Debug)]
pub struct MaybeBody<T>(pub T);

impl<'a, T: ParseFromJSON + Default> ApiExtractor<'a> for MaybeBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let meta = Body::<T>::request_meta();
        meta.map(|meta| MetaRequest {
            required: false,
            ..meta
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let announces_none = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0");
        if request.content_type().is_none() && announces_none {
            return Ok(Self(T::default()));
        }
        let body = Body::from_request(request, body, options).await?;
        Ok(Self(body.value))
    }
}

async fn read<T: ParseFromJSON>(
    request: &Request,
    body: &mut RequestBody,
    is_media: fn(&str) -> bool,
) -> poem::Result<Body<T>> {
    if !request.content_type().is_some_and(is_media) {
        return Err(Refused::UnsupportedMediaType.into());
    }
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BYTES) {
        return Err(Refused::BodyTooLarge.into());
    }
    let bytes = body
        .take()?
        .into_bytes_limit(MAX_BYTES)
        .await
        .map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => Refused::BodyTooLarge.into(),
            // The client broke off, or its transfer coding is broken.
            _ => poem::Error::from(Refused::MalformedJson("the body is incomplete".to_owned())),
        })?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Refused::MalformedJson(error.to_string()))?;

    let violations = match request.data::<Arc<Schemas>>() {
        Some(schemas) => schemas.violations(&T::schema_ref(), &value),
        None => return Err(Error::internal("the schemas are missing").into()),
    };
    if !violations.is_empty() {
        return Err(Error::Invalid(violations).into());
    }
    let value = T::parse_from_json(Some(value))
        .map_err(|error| Error::invalid("", error.into_message()))?;
    Ok(Body {
        value,
        bytes: bytes.len(),
    })
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The media type without its parameters.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.to_ascii_lowercase()
}
