<?php
// Changes the wiki of a test, as a maintenance script: reads one JSON array of steps from its input, and
// answers with one JSON array of results. A step may say at what second it happens (`at`), so that a test can
// put several changes into one second, or into the past.
//
// Run with MW_INSTALL_PATH (the code) and MW_CONFIG_FILE (the settings) in the environment.

use MediaWiki\MediaWikiServices;
use MediaWiki\Revision\SlotRecord;
use Wikimedia\Timestamp\ConvertibleTimestamp;

require_once getenv( 'MW_INSTALL_PATH' ) . '/maintenance/Maintenance.php';

class HeadwaterDriver extends Maintenance {
	/** @var MediaWikiServices */
	private $services;

	public function execute() {
		$this->services = MediaWikiServices::getInstance();
		$steps = json_decode( stream_get_contents( STDIN ), true, 64, JSON_THROW_ON_ERROR );
		$results = [];
		foreach ( $steps as $step ) {
			ConvertibleTimestamp::setFakeTime( isset( $step['at'] ) ? $this->ticking( $step['at'] ) : false );
			$name = 'do' . ucfirst( $step['do'] );
			$results[] = $this->$name( $step );
			DeferredUpdates::doUpdates();
		}
		ConvertibleTimestamp::setFakeTime( false );
		echo json_encode( $results, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE ), "\n";
	}

	private function ticking( string $at ): Closure {
		$unix = (int)ConvertibleTimestamp::convert( TS_UNIX, $at );
		return static function () use ( $unix ) {
			return $unix;
		};
	}

	private function user( array $step ): User {
		$name = $step['user'] ?? 'Admin';
		$user = User::newFromName( $name, false );
		if ( IPUtils_isIP( $name ) ) {
			return $user;
		}
		if ( $user->getId() === 0 ) {
			$user->addToDatabase();
		}
		return $user;
	}

	private function page( string $title ): WikiPage {
		$title = Title::newFromTextThrow( $title );
		// The id of a page that an earlier step made or removed is not to come from a cache.
		$title->resetArticleID( false );
		return $this->services->getWikiPageFactory()->newFromTitle( $title );
	}

	private function expect( $status, string $what ): void {
		if ( !$status->isOK() ) {
			$this->fatalError( "$what: " . $status->getWikiText( false, false, 'en' ) );
		}
	}

	private function doEdit( array $step ): array {
		$page = $this->page( $step['title'] );
		$updater = $page->newPageUpdater( $this->user( $step ) );
		$content = ContentHandler::makeContent( $step['text'], $page->getTitle() );
		$updater->setContent( SlotRecord::MAIN, $content );
		$flags = ( $step['minor'] ?? false ) ? EDIT_MINOR : 0;
		if ( $step['bot'] ?? false ) {
			$flags |= EDIT_FORCE_BOT;
		}
		foreach ( $step['tags'] ?? [] as $tag ) {
			$updater->addTag( $tag );
		}
		$updater->saveRevision( CommentStoreComment::newUnsavedComment( $step['summary'] ?? '' ), $flags );
		$this->expect( $updater->getStatus(), 'edit ' . $step['title'] );
		$made = $updater->getNewRevision();
		return [ 'pageid' => $page->getId(), 'revid' => $made ? $made->getId() : null ];
	}

	private function doDelete( array $step ): array {
		$page = $this->page( $step['title'] );
		$id = $page->getId();
		$this->expect(
			$page->doDeleteArticleReal( $step['reason'] ?? 'test', $this->user( $step ) ),
			'delete ' . $step['title']
		);
		return [ 'pageid' => $id ];
	}

	private function doUndelete( array $step ): array {
		$page = $this->page( $step['title'] );
		$undelete = $this->services->getUndeletePageFactory()->newUndeletePage( $page, $this->user( $step ) );
		$this->expect( $undelete->undeleteUnsafe( $step['reason'] ?? 'test' ), 'undelete ' . $step['title'] );
		return [ 'pageid' => $this->page( $step['title'] )->getId() ];
	}

	private function doMove( array $step ): array {
		$from = $this->page( $step['from'] )->getTitle();
		$move = $this->services->getMovePageFactory()->newMovePage( $from, Title::newFromTextThrow( $step['to'] ) );
		$this->expect(
			$move->move( $this->user( $step ), $step['reason'] ?? 'test', $step['redirect'] ?? true ),
			'move ' . $step['from']
		);
		return [ 'pageid' => $this->page( $step['to'] )->getId() ];
	}

	/** Hides parts of revisions: `hide` holds any of `text`, `comment`, `user`, `suppress`. */
	private function doHide( array $step ): array {
		$bits = [ 'text' => 1, 'comment' => 2, 'user' => 4, 'suppress' => 8 ];
		$value = 0;
		foreach ( $step['hide'] as $part ) {
			$value |= $bits[$part];
		}
		$dbw = $this->getDB( DB_PRIMARY );
		$dbw->update( 'revision', [ 'rev_deleted' => $value ], [ 'rev_id' => $step['revids'] ], __METHOD__ );
		$dbw->update( 'recentchanges', [ 'rc_deleted' => $value ], [ 'rc_this_oldid' => $step['revids'] ], __METHOD__ );
		return [];
	}

	/** As `hide`, for entries of the log (`text` is the action there). */
	private function doHideLog( array $step ): array {
		$bits = [ 'text' => 1, 'comment' => 2, 'user' => 4, 'suppress' => 8 ];
		$value = 0;
		foreach ( $step['hide'] as $part ) {
			$value |= $bits[$part];
		}
		$this->getDB( DB_PRIMARY )->update(
			'logging', [ 'log_deleted' => $value ], [ 'log_id' => $step['logids'] ], __METHOD__ );
		return [];
	}

	/** Imports a dump as `importDump.php` does; with `report`, as Special:Import does (log and null revision). */
	private function doImport( array $step ): array {
		$file = tmpfile();
		fwrite( $file, $step['xml'] );
		rewind( $file );
		$importer = $this->services->getWikiImporterFactory()
			->getWikiImporter( new ImportStreamSource( $file ) );
		if ( $step['report'] ?? false ) {
			$context = new DerivativeContext( RequestContext::getMain() );
			$context->setUser( $this->user( $step ) );
			$reporter = new ImportReporter( $importer, true, 'test', 'imported', $context );
			$reporter->setContext( $context );
			$reporter->open();
			$importer->doImport();
			$this->expect( $reporter->close(), 'import' );
		} else {
			$importer->doImport();
		}
		return [];
	}

	private function doUser( array $step ): array {
		$user = $this->user( $step );
		foreach ( $step['groups'] ?? [] as $group ) {
			$this->services->getUserGroupManager()->addUserToGroup( $user, $group );
		}
		return [ 'userid' => $user->getId() ];
	}

	private function doBlock( array $step ): array {
		$block = $this->services->getBlockUserFactory()->newBlockUser(
			$step['target'], $this->user( $step ), $step['expiry'] ?? 'infinity', $step['reason'] ?? 'test' );
		$this->expect( $block->placeBlockUnsafe(), 'block ' . $step['target'] );
		return [];
	}

	/** Runs a statement on the database; rows of a SELECT come back as objects of text. */
	private function doSql( array $step ): array {
		$rows = [];
		$result = $this->getDB( DB_PRIMARY )->query( $step['query'], __METHOD__ );
		if ( is_object( $result ) ) {
			foreach ( $result as $row ) {
				$rows[] = (array)$row;
			}
		}
		return $rows;
	}
}

function IPUtils_isIP( string $name ): bool {
	return filter_var( $name, FILTER_VALIDATE_IP ) !== false;
}

$maintClass = HeadwaterDriver::class;
require_once RUN_MAINTENANCE_IF_MAIN;
