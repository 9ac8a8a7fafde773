<?php
// Settings of the wiki that the tests of sources/mediawiki read. It stands beside `data` (the SQLite files)
// and `cache` (the messages), and moves with them.
if ( !defined( 'MEDIAWIKI' ) ) {
	exit;
}
$wgSitename = 'Headwater Test';
$wgScriptPath = '';
$wgServer = 'http://' . ( $_SERVER['HTTP_HOST'] ?? '127.0.0.1' );
$wgLanguageCode = 'en';
$wgLocaltimezone = 'UTC';
$wgEnableEmail = false;
$wgEnableUploads = false;
$wgSecretKey = str_repeat( 'not a secret ', 6 );

$wgDBtype = 'sqlite';
$wgDBname = 'wiki';
$wgSQLiteDataDir = __DIR__ . '/data';
$wgObjectCaches[CACHE_DB] = [
	'class' => SqlBagOStuff::class,
	'server' => [
		'type' => 'sqlite',
		'dbname' => 'wikicache',
		'tablePrefix' => '',
		'dbDirectory' => $wgSQLiteDataDir,
		'variables' => [ 'synchronous' => 'OFF' ],
		'trxMode' => 'IMMEDIATE',
		'flags' => 0,
	],
];
$wgMainCacheType = CACHE_NONE;
$wgSessionCacheType = CACHE_DB;
$wgParserCacheType = CACHE_NONE;
$wgMessageCacheType = CACHE_NONE;
$wgCacheDirectory = __DIR__ . '/cache';
$wgLocalisationCacheConf['store'] = 'files';
$wgLocalisationCacheConf['manualRecache'] = true;
$wgJobRunRate = 0;

$wgExtraNamespaces[3000] = 'Ünïcode';
$wgExtraNamespaces[3001] = 'Ünïcode_talk';
$wgGroupPermissions['sysop']['deleterevision'] = true;
$wgGroupPermissions['sysop']['suppressrevision'] = true;
$wgGroupPermissions['sysop']['deletelogentry'] = true;
$wgImportSources = [];
// Recent changes of any age stay: tests write revisions with old times.
$wgRCMaxAge = 100 * 365 * 86400;

// A file `lag` that holds a number makes the wiki say that its database lags, so many times.
$wgHooks['ApiMaxLagInfo'][] = static function ( &$lagInfo ) {
	$file = __DIR__ . '/lag';
	$times = is_file( $file ) ? (int)file_get_contents( $file ) : 0;
	if ( $times > 0 ) {
		file_put_contents( $file, (string)( $times - 1 ) );
		$lagInfo = [ 'host' => 'replica', 'lag' => 42, 'type' => 'db' ];
	}
};
if ( is_file( __DIR__ . '/private' ) ) {
	$wgGroupPermissions['*']['read'] = false;
}
