//! What a path names within an app.

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ParsePathError,
    registry::{MetaParamIn, MetaSchemaRef, Registry},
    types::ParseFromParameter,
};

/// The parameter of a path that follows the id of the app. The framework counts the parameters that an operation takes, and the app's is
/// its group's.
#[derive(Debug)]
pub struct Item<T>(pub T);

impl<'a, T: ParseFromParameter> ApiExtractor<'a> for Item<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    const PARAM_IS_REQUIRED: bool = T::IS_REQUIRED;
    type ParamType = T;
    type ParamRawType = T::RawValueType;

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Path)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(T::schema_ref())
    }

    fn param_raw_type(&self) -> Option<&T::RawValueType> {
        self.0.as_raw_value()
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<T>,
    ) -> poem::Result<Self> {
        let name = options.name;
        T::parse_from_parameters(request.raw_path_param("param1"))
            .map(Self)
            .map_err(|error| {
                let reason = error.into_message();
                ParsePathError { name, reason }.into()
            })
    }
}
